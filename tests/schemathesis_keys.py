"""An Idempotency-Key is good for one request: each call with a valid one gets a fresh one.

Without it most calls would only be told that their key was used before.
"""

import re
import uuid

import schemathesis

NAME = "Idempotency-Key"


@schemathesis.hook
def before_call(context, case, kwargs):
    sent = (case.headers or {}).get(NAME)
    if isinstance(sent, str) and re.fullmatch(r"[!-~]([ -~]{0,253}[!-~])?", sent):
        case.headers[NAME] = str(uuid.uuid4())

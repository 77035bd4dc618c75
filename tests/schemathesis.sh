#!/usr/bin/env bash
# Holds a running server against its own description: `short` (about a minute) or `long`.
# Needs python3 with venv, and PyPI the first time. Everything it makes is below the target directory.
set -euo pipefail
cd "$(dirname "$0")/.."
form=${1:-short}

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
venv=$target/schemathesis-4.32.5
if [ ! -x "$venv/bin/st" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check schemathesis==4.32.5
fi
cargo build --locked
farebox=$target/debug/farebox

work=$(mktemp -d)
"$farebox" serve --data "$work/data" --listen 127.0.0.1:0 --test-clock >"$work/ready" 2>"$work/log" &
server=$!
trap 'kill "$server"; wait "$server" || true; rm -r "$work"' EXIT
until grep -qs listening "$work/ready"; do
    kill -0 "$server"
    sleep 0.1
done
base=$(sed 's/.*listening on //' "$work/ready")
token=$("$farebox" token --data "$work/data" --role administration --expires 24h)

# What the calls find there: an instance with a priced line item, a condition, sessions, a decision, a license.
call() {
    curl -sf -X "$1" -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \
        "$base/api/v1.1/$2" -d "$3"
}
first() {
    sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"
}
call POST rate-tables '{"effectiveFrom":1698849852000,"series":"P","version":"1","items":[{"name":"PhotoPrint","version":"1.0","rate":3}]}' >/dev/null
instance=$(call POST instances '{"shortName":"ACME-def-inst","accountId":"ACME"}' | first id)
call PUT "instances/$instance/line-items" '{"activationId":"ACT01","state":"DEPLOYED","quantity":1000000,"start":0,"end":253402300799999,"attributes":{"elastic":true,"rateTableSeries":"P"}}' >/dev/null
condition=$(call POST "instances/$instance/conditions" '{"conditions":[{"name":"c","condition":{"key":"k","operator":"IN","values":["v"]}}]}' | first id)
asked='"requester":{"type":"user","value":"LisaBarry"},"requestedItems":[{"item":"PhotoPrint","version":"1.0","count":1}]'
decision=$(call POST "instances/$instance/access-request" "{$asked}" | first correlationId)
sessions=
for _ in $(seq 20); do
    session=$(call POST sessions "{\"instanceId\":\"$instance\"}" | first sessionId)
    call PUT "sessions/$session" "{\"rollbackOnDeny\":true,$asked}" >/dev/null
    sessions="$sessions${sessions:+,}\"$session\""
done
call PUT products/P '{"name":"P"}' >/dev/null
call PUT products/P/components/Mesher '{"licenseModel":"token","tokensRequired":1,"freeTrialExpiration":null}' >/dev/null
call PUT licenses/K "{\"productGuid\":\"P\",\"instanceId\":\"$instance\",\"terms\":[{\"start\":0,\"end\":253402300799999}],\"concurrentSessions\":100000,\"features\":[],\"sessionDuration\":86400,\"gracePeriod\":0}" >/dev/null
call PUT licenses/K/entitlements/E1 '{"components":["Mesher"],"tokens":1000000,"sessions":0}' >/dev/null
method() {
    curl -sf -H "Authorization: Bearer $token" -H 'Content-Type: application/json' "$base/api/v3.2/auth/$1" -d "$2"
}
program=$(method register_instance '{"product_guid":"P","license_key":"K","instance_identity":{"host":"pc"},"user_identity":{"login":"lisa"}}' | first instance_guid)
leases=
for _ in $(seq 5); do
    lease=$(method begin_app_session "{\"product_guid\":\"P\",\"instance_guid\":\"$program\",\"user_identity\":{\"login\":\"lisa\"},\"version\":\"1\"}" | first session_key)
    method check_out_components "{\"session_key\":\"$lease\",\"components\":\"Mesher\"}" >/dev/null
    leases="$leases${leases:+,}\"$lease\""
done
sed -e "s|@TOKEN@|$token|; s|@HOOKS@|$PWD/tests/schemathesis_keys.py|; s/@INSTANCE@/$instance/; s/@CONDITION@/$condition/; s/@SESSIONS@/$sessions/; s/@LEASES@/$leases/; s/@CORRELATION@/$decision/" \
    tests/schemathesis.toml >"$work/schemathesis.toml"

case $form in
short) examples=(--max-examples 10) ;;
long) examples=(--max-examples 200) ;;
*)
    echo "short or long?" >&2
    exit 2
    ;;
esac
# It writes its seed at the end: `--seed` plays the same calls again.
cd "$work"
"$venv/bin/st" --config-file "$work/schemathesis.toml" run "$base/openapi.json" \
    --workers 2 --continue-on-failure --no-color "${examples[@]}" "${@:2}"

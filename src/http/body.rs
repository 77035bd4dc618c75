//! Reading a body: JSON only, bounded in bytes and in time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};

use super::problem::Problem;
use crate::domain::limits::BODY_BYTES_MAX;

/// Room for a body of which nobody knows yet how long it gets.
const FIRST_ROOM: usize = 8 * 1024;

/// Reads a whole JSON body: 413 at once where its declared length is too great.
pub(super) async fn read(
    headers: &HeaderMap,
    body: &mut Incoming,
    limit: Duration,
) -> Result<Bytes, Problem> {
    if declared_length(headers) > u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    check_content_type(headers)?;
    check_content_coding(headers)?;
    // The timer is only armed for a body that is not there yet.
    let Ok(read) = tokio::time::timeout(limit, collect(body)).await else {
        let detail = format!("the body was not complete after {limit:?}");
        return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", detail).closing());
    };
    read
}

async fn collect(body: &mut Incoming) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    // The usual body is one piece; only a longer one is copied together.
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            let detail = "the body ended early or its framing is broken";
            Problem::bad_request("bad-framing", detail).closing()
        })?;
        let Ok(piece) = frame.into_data() else { continue };
        if first.len().max(rest.len()) + piece.len() > BODY_BYTES_MAX {
            return Err(too_large());
        }
        if first.is_empty() {
            first = piece;
        } else if rest.is_empty() {
            let known = usize::try_from(body.size_hint().lower()).unwrap_or(FIRST_ROOM);
            rest.reserve(first.len() + piece.len() + known.clamp(FIRST_ROOM, BODY_BYTES_MAX));
            rest.extend_from_slice(&first);
            rest.extend_from_slice(&piece);
        } else {
            rest.extend_from_slice(&piece);
        }
    }
    Ok(if rest.is_empty() { first } else { Bytes::from(rest) })
}

fn declared_length(headers: &HeaderMap) -> u64 {
    // hyper has refused what is no length.
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|digits| digits.trim().parse().ok()).unwrap_or(0)
}

fn too_large() -> Problem {
    let detail = format!("a body has at most {BODY_BYTES_MAX} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail).closing()
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let mut sent = headers.get_all(CONTENT_TYPE).iter();
    let (first, second) = (sent.next(), sent.next());
    let first = first.and_then(|value| value.to_str().ok()).unwrap_or_default();
    if second.is_none() && is_json(first) {
        return Ok(());
    }
    Err(unsupported("send `Content-Type: application/json`, in UTF-8"))
}

fn check_content_coding(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    match codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        true => Ok(()),
        false => Err(unsupported("send the body as it is, without `Content-Encoding`")),
    }
}

fn unsupported(detail: &'static str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail)
}

fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    media_type.eq_ignore_ascii_case("application/json")
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            Some(_) | None => true,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_utf_8_is_read() {
        for (content_type, json) in [
            ("application/json", true),
            ("Application/JSON", true),
            ("application/json; charset=utf-8", true),
            ("application/json;charset=\"UTF-8\"; v=1", true),
            ("application/json; charset=utf-16", false),
            ("application/json; charset=", false),
            ("application/jsonp", false),
            ("application/problem+json", false),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("", false),
        ] {
            assert_eq!(is_json(content_type), json, "{content_type}");
        }
    }
}

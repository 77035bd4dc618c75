//! Reads of an answer what the load wants to know, and no more.

use hyper::HeaderMap;
use memchr::memmem;

/// The sum of a member's values, wherever it stands, in millionths; `None` where one is no decimal
/// or has more digits than that.
pub fn sum(body: &[u8], member: &memmem::Finder) -> Option<i128> {
    let mut sum = 0;
    for at in member.find_iter(body) {
        sum += millionths(body.get(at + member.needle().len()..)?)?;
    }
    Some(sum)
}

/// The text of a member, `name` being all from its first quote to that of its value.
pub fn text<'a>(body: &'a [u8], name: &str) -> Option<&'a str> {
    let begin = memmem::find(body, name.as_bytes())? + name.len();
    let rest = body.get(begin..)?;
    let end = memchr::memchr(b'"', rest)?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

/// The end of a session's paid period, in milliseconds; 0 where nothing is paid for.
pub fn charged_until(headers: &HeaderMap) -> u64 {
    let value = headers.get("x-charged-until").and_then(|value| value.to_str().ok());
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// The decimal that a text begins with, in millionths.
fn millionths(text: &[u8]) -> Option<i128> {
    let (mut value, mut decimals) = (0_i128, None);
    for byte in text {
        match (byte, decimals) {
            (b'0'..=b'9', Some(6)) if *byte != b'0' => return None,
            (b'0'..=b'9', Some(6)) => {}
            (b'0'..=b'9', _) => {
                value = value.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
                decimals = decimals.map(|decimals| decimals + 1);
            }
            (b'.', None) => decimals = Some(0),
            _ => break,
        }
    }
    value.checked_mul(10_i128.checked_pow(6 - decimals.unwrap_or(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_summed_to_the_millionth() {
        let total = memmem::Finder::new("\"t\":");
        for (body, expected) in [
            (r#"{"t":30,"x":[{"t":14}]}"#, Some(44_000_000)),
            (r#"{"t":0.5}"#, Some(500_000)),
            (r#"{"t":1.2345670}"#, Some(1_234_567)),
            (r#"{"t":1.2345678}"#, None),
            (r#"{"u":1}"#, Some(0)),
        ] {
            assert_eq!(sum(body.as_bytes(), &total), expected, "{body}");
        }
        assert_eq!(text(br#"{"id":"a-b"}"#, r#""id":""#), Some("a-b"));
        assert_eq!(text(br#"{"id":7}"#, r#""id":""#), None);
    }
}

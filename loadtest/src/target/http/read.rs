//! Reads of an answer what the load wants to know, and no more.

use hyper::HeaderMap;
use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A line item, as far as it is audited.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LineItem<'a> {
    activation_id: String,
    quantity: u64,
    #[serde(borrow)]
    used: &'a RawValue,
    /// Only there if anything is held.
    #[serde(borrow)]
    held: Option<&'a RawValue>,
}

/// The sum of a member's values, wherever it stands, in millionths; `None` where one is no decimal
/// or has more digits than that.
pub fn sum(body: &[u8], member: &memmem::Finder) -> Option<i128> {
    let mut sum = 0;
    for at in member.find_iter(body) {
        sum += millionths(body.get(at + member.needle().len()..)?)?;
    }
    Some(sum)
}

/// Of each line item of a list what it is called, its quantity in whole tokens, and what it has used
/// and holds in millionths; `None` where one cannot be read.
pub fn line_items(body: &[u8]) -> Option<Vec<(String, u64, i128)>> {
    let listed: Vec<LineItem> = serde_json::from_slice(body).ok()?;
    let taken = |item: LineItem| {
        let held = item.held.map_or(Some(0), |held| millionths(held.get().as_bytes()))?;
        let used = millionths(item.used.get().as_bytes())?;
        Some((item.activation_id, item.quantity, used + held))
    };
    listed.into_iter().map(taken).collect()
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

    #[test]
    fn what_a_line_item_has_used_and_holds_is_read_beside_what_it_had() {
        let list = br#"[{"activationId":"a","quantity":9,"used":1.5,"held":2,"attributes":{}},
            {"activationId":"b","quantity":9000000000000,"used":8999999999999.999999}]"#;
        let (a, b) = (("a".to_owned(), 9, 3_500_000), 8_999_999_999_999_999_999);
        let expected = vec![a, ("b".to_owned(), 9_000_000_000_000, b)];
        assert_eq!(line_items(list), Some(expected));
        for wrong in [&b"{}"[..], br#"[{"activationId":"a","quantity":9}]"#] {
            assert_eq!(line_items(wrong), None);
        }
    }
}

//! `/configuration`: the settings, who changed them when, and what is refused (spec 2.9, 8; I8 of
//! promises.md). What the settings do is told by the worked examples.

use farebox::domain::time::Timestamp;
use serde_json::json;

use crate::STARTED;
use crate::server::start_with_test_clock;
use crate::sessions_in_time::{START, instant};

/// Where nobody has changed anything.
const DEFAULTS: ((&str, u64), (&str, u64)) = (("false", 0), ("PT1H", 0));

/// What a version lists (spec 2.11): each setting with its value and the minute of its change.
fn settings(version: &str, tolerant: (&str, u64), period: (&str, u64)) -> String {
    let one = |name: &str, (value, changed): (&str, u64)| {
        let changed = match changed {
            0 => String::new(),
            at => {
                format!(r#","modified":{},"updatedBy":"administration-key""#, instant(at))
            }
        };
        format!(r#"{{"name":"{name}","value":"{value}"{changed}}}"#)
    };
    let tolerant = one("timezone.tolerant", tolerant);
    match version {
        "v1.0" => format!("[{tolerant}]"),
        _ => format!("[{tolerant},{}]", one("session.charge.period", period)),
    }
}

fn setting(name: &str, value: &str) -> String {
    json!({"name": name, "value": value}).to_string()
}

fn tolerant(value: &str) -> String {
    setting("timezone.tolerant", value)
}

fn period(value: &str) -> String {
    setting("session.charge.period", value)
}

#[tokio::test]
async fn settings_are_changed_alone_or_together_and_a_default_forgets_who_set_it() {
    let list = |settings: &[String]| format!("[{}]", settings.join(","));
    let (both, twice) =
        ([tolerant("false"), period("PT10M")], [period("PT20M"), period("PT1440M")]);
    // Minute, body, and what is listed then.
    let rows = [
        (1, tolerant("true"), (("true", 1), ("PT1H", 0))),
        (2, list(&[period("PT90M")]), (("true", 1), ("PT1H30M", 2))),
        (3, list(&both), (("false", 0), ("PT10M", 3))),
        (4, tolerant("false"), (("false", 0), ("PT10M", 3))),
        (5, period("PT0H10M"), (("false", 0), ("PT10M", 5))),
        (6, list(&twice), (("false", 0), ("PT24H", 6))),
        (7, list(&[period("PT60M"), tolerant("true")]), (("true", 7), ("PT1H", 0))),
        (8, tolerant("false"), DEFAULTS),
    ];
    for (version, _) in STARTED {
        let server = start_with_test_clock(Timestamp::from_ms(START)).await;
        let target = |method: &str| format!("{method} /api/{version}/configuration");
        let defaults = settings(version, DEFAULTS.0, DEFAULTS.1);
        assert_eq!(server.admin(&target("GET"), "").await.body, defaults);
        for (minute, body, (tolerant, period)) in &rows {
            let expected = &settings(version, *tolerant, *period);
            server.move_to(instant(*minute)).await;
            let changed = server.admin(&target("PATCH"), body).await;
            assert_eq!((changed.status, &changed.body), (200, expected), "{body}");
            let read = server.admin(&target("GET"), "").await;
            assert_eq!((read.status, &read.body), (200, expected), "{body}");
        }
    }
}

#[tokio::test]
async fn a_bad_setting_is_refused_with_a_code_and_takes_the_good_ones_along() {
    let server = start_with_test_clock(Timestamp::from_ms(START)).await;
    server.move_to(instant(1)).await;
    server.admin("PATCH /api/v1.0/configuration", &period("PT90M")).await;
    let unchanged = settings("v1.1", ("false", 0), ("PT1H30M", 1));
    server.move_to(instant(2)).await;
    let last = server.broker.journal().last();
    let mut cases = vec![
        (setting("timezone", "true"), "unknown-setting"),
        (setting("Timezone.Tolerant", "true"), "unknown-setting"),
        (setting("", "true"), "unknown-setting"),
        (tolerant("TRUE"), "bad-setting"),
        (tolerant("1"), "bad-setting"),
        (tolerant(""), "bad-setting"),
        (r#"{"name":"timezone.tolerant","value":true}"#.to_owned(), "bad-type"),
        (r#"{"name":"timezone.tolerant"}"#.to_owned(), "missing-field"),
        (r#"{"value":"true"}"#.to_owned(), "missing-field"),
        (r#"{"name":"timezone.tolerant","value":"true","modified":1}"#.to_owned(), "unknown-field"),
    ];
    for interval in [
        "PT9M59S", "PT24H1M", "PT0S", "P1D", "PT10S", "garbage", "PT9M", "PT0H", "PT90S", "PT", "",
        "pt1h", "PT1441M", "PT1.5H", "60",
    ] {
        cases.push((period(interval), "bad-interval"));
    }
    for (bad, code) in cases {
        let good = tolerant("true");
        for body in [bad.clone(), format!("[{good},{bad}]"), format!("[{bad},{good}]")] {
            let answer = server.admin("PATCH /api/v1.1/configuration", &body).await;
            assert_eq!(answer.outcome(), (400, code.to_owned()), "{body}: {answer:?}");
            let read = server.admin("GET /api/v1.1/configuration", "").await;
            assert_eq!(read.body, unchanged, "{body}");
        }
    }
    for (body, code) in
        [("[]", "no-items"), ("", "bad-json"), ("7", "bad-type"), ("[7]", "bad-type")]
    {
        let answer = server.admin("PATCH /api/v1.1/configuration", body).await;
        assert_eq!(answer.outcome(), (400, code.to_owned()), "{body}: {answer:?}");
    }
    assert_eq!(server.broker.journal().last(), last, "nothing is recorded");
}

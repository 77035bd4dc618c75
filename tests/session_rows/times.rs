//! I6: broker time is milliseconds of UTC and nothing else, and an instant is one or is refused.

use farebox::broker::Storage;
use farebox::domain::time::Timestamp;
use serde_json::{Value, json};

use crate::common::model::whole;
use crate::common::product;
use crate::common::script;
use crate::common::server::{line_item, start_with_test_clock};
use crate::house::{HOUR_MS, House, one_thread, settings};

/// What calendars and 32-bit clocks stumble over.
const INSTANTS: &[(&str, u64)] = &[
    ("2000-02-29T00:00:00Z", 951_782_400_000),
    ("the second after a leap second, 2017-01-01T00:00:00Z", 1_483_228_800_000),
    ("summer time begins in Europe", 1_711_846_800_000),
    ("summer time ends in the United States", 1_730_613_600_000),
    ("2^31 seconds, 2038-01-19T03:14:08Z", 2_147_483_648_000),
    ("2100-03-01T00:00:00Z, after no leap day", 4_107_542_400_000),
    ("2^32 seconds, in 2106", 4_294_967_296_000),
    ("2^42 milliseconds, in 2109", 4_398_046_511_104),
];

#[test]
fn i6_an_hour_is_an_hour_and_a_millisecond_a_millisecond_on_any_day() {
    for (name, instant) in INSTANTS {
        one_thread().block_on(async {
            let paid = instant - HOUR_MS / 2;
            let house = House::with(Storage::Memory, paid, settings()).await;
            house.line_item("L", &["end=300000000"]).await; // Some centuries.
            house.publish("2", *instant, "PhotoPrint=5").await;
            let session = house.session().await;
            house.put(&session, "10xPhotoPrint").await.expect("it is granted");
            for (now, used) in [(instant - 1, 33), (*instant, 38)] {
                house.clock.set(now);
                let one = product::request("somebody", &[script::item("1xPhotoPrint")]);
                let asked = house.broker.access(house.scope, one.expect("a valid count"));
                asked.await.expect("it is decided");
                assert_eq!(house.used("L").await, whole(used), "{name}");
            }
            for (now, used) in [(paid + HOUR_MS - 1, 38), (paid + HOUR_MS, 88)] {
                house.at(now).await;
                assert_eq!(house.used("L").await, whole(used), "{name}");
            }
            let deadline = paid + HOUR_MS + HOUR_MS / 2;
            for (now, state) in [(deadline, "ACTIVE"), (deadline + 1, "TERMINATED")] {
                house.at(now).await;
                assert_eq!(house.state(&session).await, state, "{name}");
            }
        });
    }
}

/// Seconds for milliseconds, and the ends of what is an instant for each of them.
#[tokio::test]
async fn i6_an_instant_outside_its_bounds_is_refused() {
    let server = start_with_test_clock(Timestamp::from_ms(1_700_000_000_000)).await;
    let instance = server.instance("ACME").await;
    let beyond = 9_223_372_036_854_775_808_u64; // 2^63
    let table = |(number, from): (usize, Value)| {
        let items = json!([{"name": "A", "rate": 1}]);
        json!({"effectiveFrom": from, "version": number.to_string(), "items": items})
    };
    let tables = [
        (json!(1_698_849_852_000_u64), "ok"),
        (json!(1_698_849_852), "bad-time"),
        (json!(-1), "bad-time"),
        (json!(0), "bad-time"),
        (json!(946_684_799_999_u64), "bad-time"),
        (json!(946_684_800_000_u64), "ok"),
        (json!(7_258_118_400_000_u64), "ok"),
        (json!(7_258_118_400_001_u64), "bad-time"),
        (json!(beyond), "bad-time"),
    ];
    for (number, (from, code)) in tables.into_iter().enumerate() {
        let body = table((number, from)).to_string();
        let answer = server.admin("POST /api/v1.1/rate-tables", &body).await;
        let status = if code == "ok" { 201 } else { 400 };
        assert_eq!(answer.outcome(), (status, code.to_owned()), "{body}: {answer:?}");
    }
    for (now, code) in [
        (json!(-1), "bad-time"),
        (json!(0), "bad-time"),
        (json!(1_700_000_000), "bad-time"),
        (json!(946_684_799_999_u64), "bad-time"),
        (json!(7_258_118_400_001_u64), "bad-time"),
        (json!(beyond), "bad-time"),
        (json!(7_258_118_400_000_u64), "ok"),
    ] {
        let answer = server.admin("POST /test/clock", &json!({"set": now}).to_string()).await;
        let status = if code == "ok" { 200 } else { 400 };
        assert_eq!(answer.outcome(), (status, code.to_owned()), "{now}: {answer:?}");
    }
    let last = 253_402_300_799_999_u64;
    for (start, end, status) in [
        (json!(-1), json!(last), 400),
        (json!(0), json!(0), 200),
        (json!(0), json!(last), 200),
        (json!(last), json!(last), 200),
        (json!(0), json!(last + 1), 400),
        (json!(last + 1), json!(last + 1), 400),
        (json!(0), json!(beyond), 400),
        (json!(1), json!(0), 400), // I7
    ] {
        let mut body = line_item(1, 10);
        (body["start"], body["end"]) = (start, end);
        let target = format!("PUT /api/v1.1/instances/{instance}/line-items");
        let answer = server.admin(&target, &body.to_string()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        let code = if status == 200 { "ok" } else { "line-item-invalid" };
        assert_eq!(answer.outcome().1, code, "{body}: {answer:?}");
    }
}

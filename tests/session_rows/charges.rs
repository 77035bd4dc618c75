//! H9: what a session pays that replaces its set all the time.

use farebox::broker::Storage;

use crate::common::crowd::START_MS;
use crate::common::model::{Amount, decimal, whole};
use crate::common::product;
use crate::house::{HOUR_MS, House, one_thread, refunded, refunds, settings};

#[test]
fn h9_the_same_set_put_every_second_for_an_hour_costs_the_hour() {
    one_thread().block_on(async {
        let house = House::with(Storage::Memory, START_MS, settings()).await;
        house.line_item("A", &["quantity=20", "end=9000"]).await; // Is used up on the way.
        house.line_item("B", &[]).await;
        let session = house.session().await;
        let last = house.last();
        let mut charged = whole(0);
        for second in 0..3_600 {
            house.clock.set(START_MS + second * 1_000);
            let put = house.put(&session, "1xCADPrint 10xPhotoPrint").await.expect("it is granted");
            let verdicts = put.value.verdicts().iter();
            let set: Amount = verdicts.map(|verdict| product::amount(verdict.total())).sum();
            assert_eq!(set, whole(37), "second {second}: each time all of it anew");
            charged += set;
        }
        house.clock.set(START_MS + HOUR_MS);
        house.close(&session).await.expect("it is alive");

        let records = house.since(last);
        assert_eq!(records.len(), 3_601, "nothing was charged by itself");
        let lines: usize = records.iter().map(|record| refunds(record).len()).sum();
        let cost = charged - refunded(&records);
        assert_eq!(house.used("A").await + house.used("B").await, cost);
        let rounded = cost - whole(37); // What an hour of the set costs.
        println!("{lines} refunds were rounded down by {rounded} in all");
        assert!(rounded >= whole(0), "no client earns from rounding");
        assert!(rounded < decimal("0.000001") * whole(lines), "less than a millionth a refund");
        assert!(lines > 3_600, "the set was charged to several line items");
    });
}

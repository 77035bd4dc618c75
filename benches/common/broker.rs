//! The broker that benches ask.

use std::sync::Arc;

use farebox::auth::{Principal, Scope};
use farebox::broker::{Broker, Options};
use farebox::domain::ids::Requester;
use farebox::domain::line_item::Terms;
use farebox::domain::rates::{NewRateTable, RatedItem};
use farebox::domain::request::{AccessRequest, RequestedItem};
use farebox::domain::rules::Dictionary;
use farebox::domain::time::Timestamp;
use farebox::domain::variables::Variables;

pub(crate) type Anything = Box<dyn std::error::Error>;

/// Name, version, count, rate: the tutorial's two items, and as many more as are wanted.
fn priced(many: usize) -> impl Iterator<Item = (String, &'static str, &'static str, &'static str)> {
    let more = (3..=many).map(|number| (format!("Print{number}"), "1.0", "1", "4"));
    let first = [("PhotoPrint", "1.0", "10", "3"), ("CADPrint", "2.0", "2", "7")];
    first
        .map(|(name, version, count, rate)| (name.to_owned(), version, count, rate))
        .into_iter()
        .chain(more)
}

/// A broker with an instance of so many endless line items, and a request that is charged to all of
/// them: each has a price list of its own. The request has an item for each, at least two.
pub(crate) async fn prepare(
    options: Options,
    line_items: usize,
) -> Result<(Broker, Scope, Arc<AccessRequest>), Anything> {
    let broker = Broker::open(options).await?.broker;
    let instance = broker.create_instance("ACME".parse()?, "ACME".parse()?).await?.value;
    let scope = Principal::administration().scope(instance.id)?;
    let end = broker.now().plus_ms(86_400_000);
    for position in 0..line_items {
        let mut items = Vec::new();
        for (name, version, _, rate) in priced(line_items).skip(position).step_by(line_items) {
            let (name, version, rate) = (name.parse()?, version.parse()?, rate.parse()?);
            items.push(RatedItem { name, version, rate });
        }
        let (series, version) = (format!("series-{position}").parse()?, "1".parse()?);
        let effective_from = Timestamp::from_ms(1_698_849_852_000);
        let activation_id = format!("ACT{position:02}").parse()?;
        let terms = Terms::new(activation_id, 9_000_000_000_000_000_000, Timestamp::default(), end);
        let terms = Terms { series, ..terms };
        let table = NewRateTable { series: terms.series.clone(), version, effective_from, items };
        broker.publish_rate_table(table).await?;
        broker.map_line_item(scope, terms).await?;
    }
    let mut items = Vec::new();
    for (name, version, count, _) in priced(line_items) {
        let (name, version, count) = (name.parse()?, version.parse()?, count.parse()?);
        let (metadata, variables) = (None, Variables::default());
        items.push(RequestedItem { name, version, count, metadata, variables });
    }
    let requester = Requester {
        kind: "user".parse()?,
        value: "LisaBarry".parse()?,
        dictionary: Dictionary::default(),
    };
    Ok((broker, scope, Arc::new(AccessRequest { requester, items })))
}

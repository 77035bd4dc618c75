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

/// A broker with one endless line item, and a request of two items of its.
pub(crate) async fn prepare(
    options: Options,
) -> Result<(Broker, Scope, Arc<AccessRequest>), Anything> {
    let broker = Broker::open(options).await?.broker;
    let item = |name: &str, version: &str, rate: &str| -> Result<RatedItem, Anything> {
        Ok(RatedItem { name: name.parse()?, version: version.parse()?, rate: rate.parse()? })
    };
    let items = vec![item("PhotoPrint", "1.0", "3")?, item("CADPrint", "2.0", "7")?];
    let (series, version) = ("".parse()?, "1".parse()?);
    let effective_from = Timestamp::from_ms(1_698_849_852_000);
    broker.publish_rate_table(NewRateTable { series, version, effective_from, items }).await?;
    let instance = broker.create_instance("ACME".parse()?, "ACME".parse()?).await?.value;
    let scope = Principal::administration().scope(instance.id)?;
    let end = broker.now().plus_ms(86_400_000);
    let quantity = 9_000_000_000_000_000_000;
    let terms = Terms::new("ACT01".parse()?, quantity, Timestamp::default(), end);
    broker.map_line_item(scope, terms).await?;
    let item = |name: &str, version: &str, count: &str| -> Result<RequestedItem, Anything> {
        let (name, version, count) = (name.parse()?, version.parse()?, count.parse()?);
        Ok(RequestedItem { name, version, count, metadata: None, variables: Variables::default() })
    };
    let items = vec![item("PhotoPrint", "1.0", "10")?, item("CADPrint", "2.0", "2")?];
    let requester = Requester {
        kind: "user".parse()?,
        value: "LisaBarry".parse()?,
        dictionary: Dictionary::default(),
    };
    Ok((broker, scope, Arc::new(AccessRequest { requester, items })))
}

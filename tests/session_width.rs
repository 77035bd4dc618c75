//! A session's set is charged to so many line items at most that its end always fits one record:
//! what was granted can be closed. Found by an attacker whose sessions could not be.

use std::sync::Arc;

use farebox::auth::{Principal, Scope};
use farebox::broker::{AccessAnswer, Answer, Broker, Options, Reach};
use farebox::domain::ids::{Document, Requester};
use farebox::domain::limits::LINE_ITEMS_CHARGED_MAX;
use farebox::domain::line_item::Terms;
use farebox::domain::rates::{NewRateTable, RatedItem};
use farebox::domain::refusal::Refusal;
use farebox::domain::request::{AccessRequest, RequestedItem};
use farebox::domain::rules::Dictionary;
use farebox::domain::session::OnDeny;
use farebox::domain::time::Timestamp;
use farebox::domain::tokens::Tokens;
use farebox::domain::variables::Variables;
use farebox::error::BrokerError;

type Anything = Box<dyn std::error::Error>;

/// So many counts of an item that costs one token, with as much `metaData` as a body holds on others
/// that cost nothing.
fn request(count: usize) -> Arc<AccessRequest> {
    let requester = Requester {
        kind: "user".parse().expect("a text"),
        value: "LisaBarry".parse().expect("a text"),
        dictionary: Dictionary::default(),
    };
    let item = |name: &str, count: usize, metadata| RequestedItem {
        name: name.parse().expect("a text"),
        version: "".parse().expect("a text"),
        count: count.to_string().parse().expect("a count"),
        metadata,
        variables: Variables::default(),
    };
    let widest = format!(r#"{{"note":"{}"}}"#, "x".repeat(16_000));
    let free = item("Free", 1, Some(Document::from_checked(&widest)));
    let mut items = vec![free; 65];
    items.push(item("One", count, None));
    Arc::new(AccessRequest { requester, items })
}

async fn put(broker: &Broker, scope: Scope, id: &str, count: usize) -> Answer<AccessAnswer> {
    broker.session_access(Reach::Instance(scope), id, request(count), OnDeny::Rollback).await
}

async fn quote(broker: &Broker, scope: Scope, id: &str, count: usize) -> Answer<AccessAnswer> {
    broker.quote_session(Reach::Instance(scope), id, request(count), OnDeny::Rollback).await
}

#[tokio::test]
async fn whatever_a_session_is_granted_can_be_closed() -> Result<(), Anything> {
    let broker = Broker::open(Options::memory()).await?.broker;
    let price = |name: &str, rate: &str| {
        Ok::<_, Anything>(RatedItem {
            name: name.parse()?,
            version: "".parse()?,
            rate: rate.parse()?,
        })
    };
    let (series, version, effective_from) = ("".parse()?, "1".parse()?, Timestamp::default());
    let table = NewRateTable {
        series,
        version,
        effective_from,
        items: vec![price("One", "1")?, price("Free", "0")?],
    };
    broker.publish_rate_table(table).await?;
    let instance = broker.create_instance("ACME".parse()?, "ACME".parse()?).await?.value;
    let scope = Principal::administration().scope(instance.id)?;
    let end = broker.now().plus_ms(86_400_000);
    for number in 0..=LINE_ITEMS_CHARGED_MAX {
        let longest = format!("{number:03}{}", "\u{1F37A}".repeat(252)); // 255 characters, 1,011 bytes.
        broker
            .map_line_item(scope, Terms::new(longest.parse()?, 1, Timestamp::default(), end))
            .await?;
    }
    let id = broker.create_session(scope).await?.value.to_string();

    let refused = put(&broker, scope, &id, LINE_ITEMS_CHARGED_MAX + 1).await;
    assert!(matches!(refused, Err(BrokerError::Refused(Refusal::TooManyLineItems, _))));
    let refused = quote(&broker, scope, &id, LINE_ITEMS_CHARGED_MAX + 1).await;
    assert!(matches!(refused, Err(BrokerError::Refused(Refusal::TooManyLineItems, _))));
    let quoted = quote(&broker, scope, &id, LINE_ITEMS_CHARGED_MAX).await?.value;
    let granted = put(&broker, scope, &id, LINE_ITEMS_CHARGED_MAX).await?.value;
    assert_eq!(granted.postings().len(), LINE_ITEMS_CHARGED_MAX);
    assert_eq!(quoted.verdicts(), granted.verdicts());
    assert_eq!(quoted.balances(), granted.balances());
    // Replaced, all former lines are in the record as well. A few milliseconds are used up by now.
    put(&broker, scope, &id, LINE_ITEMS_CHARGED_MAX / 2).await?;
    broker.close_session(Reach::Instance(scope), &id).await?;
    for view in broker.line_items(scope).await?.value {
        assert_eq!(view.balance.open_lines, 0);
        assert!(view.balance.used < Tokens::whole(1), "all but the milliseconds is refunded");
    }
    Ok(())
}

//! Explanations in a test's hands: of everything that a journal has, and in a line each.

use std::ops::ControlFlow;

use farebox::broker::Broker;
use farebox::domain::balance::LineItemBalance;
use farebox::domain::charge::explain::{LineItemExplained, Raise, Shortfall, Standing};
use farebox::domain::charge::{Denial, Verdict};
use farebox::domain::event::Next;
use farebox::domain::ids::{CorrelationId, Sequence};
use farebox::domain::line_item::Obstacle;
use farebox::explain::{Decided, Explanation, GivenBack, explain};
use farebox::journal::format;

/// Everything that was decided, explained, in its order.
pub fn explanations(broker: &Broker) -> Vec<Explanation> {
    let mut ids = Vec::new();
    let read = broker.journal().read(Sequence::ZERO, &mut |_, payload| {
        ids.extend(format::decode(payload).expect("a record").event.correlation());
        ControlFlow::Continue(())
    });
    read.expect("the journal can be read");
    ids.into_iter().map(|id| explained(broker, id)).collect()
}

/// One decision, which must be there.
pub fn explained(broker: &Broker, id: CorrelationId) -> Explanation {
    let explained = explain(broker.journal(), id, || true).expect("the journal can be read");
    explained.expect("there is such a decision")
}

/// An explanation in a line, such as
/// `SESSION CHARGED 101 10xPhotoPrint ACT01:30/1000 | -ACT01:20 PhotoPrint | ACT01=44+956`.
pub fn shown(explanation: &Explanation) -> String {
    let next = explanation.next.map(|next| match next {
        Next::Unchanged => " UNCHANGED",
        Next::Charged(_) => " CHARGED",
        Next::Halted => " HALTED",
        Next::Terminated => " TERMINATED",
    });
    let items: Vec<_> = explanation.items.iter().map(shown_item).collect();
    let refund = |GivenBack { activation_id, item, tokens, .. }: &GivenBack| {
        let item = item.as_ref().map_or("?", |(name, _)| name.as_str());
        format!("-{activation_id}:{tokens} {item}")
    };
    let mut refunds: Vec<_> = explanation.refunds.iter().map(refund).collect();
    let counted = explanation.refunds_counted.iter().map(refund);
    refunds.extend(counted.map(|refund| format!("counted {refund}")));
    let balance = |LineItemBalance { activation_id, used, available }: &LineItemBalance| {
        let available = available.map_or("endless".to_owned(), |left| left.to_string());
        format!("{activation_id}={used}+{available}")
    };
    let balances: Vec<_> = explanation.balances.iter().map(balance).collect();
    let (kind, next) = (explanation.kind.as_str(), next.unwrap_or_default());
    let parts = [items.join("; "), refunds.join(" "), balances.join(" ")];
    let doubt = if explanation.consistent { "" } else { " INCONSISTENT" };
    format!("{kind}{next}{doubt} {}", parts.join(" | "))
}

fn shown_item(decided: &Decided) -> String {
    let status = match &decided.verdict {
        Verdict::Granted(_) => 101,
        Verdict::Denied(Denial::NoStatus) => 102,
        Verdict::Denied(Denial::UnknownItem) => 201,
        Verdict::Denied(Denial::NoLineItem) => 301,
        Verdict::Denied(Denial::Insufficient) => 306,
    };
    let mut words =
        vec![status.to_string(), format!("{}x{}", decided.item.count, decided.item.name)];
    words.extend(decided.why.line_items.iter().map(shown_line_item));
    match &decided.why.shortfall {
        Some(Shortfall::Raise(Raise { activation_id, quantity, allocation, .. })) => {
            let allocation = allocation.as_ref();
            let allocation = allocation.map(|raised| format!("+{}@{}", raised.tokens, raised.name));
            let quantity = (*quantity > 0).then(|| format!("+{quantity}"));
            let by: String = quantity.into_iter().chain(allocation).collect();
            words.push(format!("raise {activation_id}{by}"));
        }
        Some(Shortfall::Ceiling) => words.push("ceiling".to_owned()),
        Some(Shortfall::Later) => words.push("later".to_owned()),
        None => {}
    }
    words.extend(decided.too_many_line_items.then(|| "too-many".to_owned()));
    words.join(" ")
}

fn shown_line_item(explained: &LineItemExplained) -> String {
    let standing = match &explained.standing {
        Standing::Unusable(Obstacle::NotElastic) => "not-elastic".to_owned(),
        Standing::Unusable(Obstacle::NotDeployed(state)) => state.to_string(),
        Standing::Unusable(Obstacle::NotStarted(_)) => "not-started".to_owned(),
        Standing::Unusable(Obstacle::Ended(_)) => "ended".to_owned(),
        Standing::NoTable { .. } => "no-table".to_owned(),
        Standing::NotPriced(table) => format!("not-in-{}{}", table.series, table.version),
        Standing::Denied { rule: Some(rule), .. } => format!("denied-by-{}", rule.name),
        Standing::Denied { rule: None, .. } => "denied-by-none".to_owned(),
        Standing::FormulaFails { .. } => "formula".to_owned(),
        Standing::Usable(usable) => {
            let left = match usable.with_overdraft {
                Some(all) if all == usable.entitled => all.to_string(),
                Some(all) => format!("{}..{all}", usable.entitled),
                None => format!("{}..", usable.entitled),
            };
            let rule = usable.rule.as_ref().map(|rule| format!("@{}", rule.name));
            let (taken, rate) = (usable.taken, usable.rate);
            format!("{taken}/{left}*{rate}{}", rule.unwrap_or_default())
        }
    };
    format!("{}:{standing}", explained.activation_id)
}

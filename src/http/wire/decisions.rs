//! Decisions explained (spec 2.13).

use super::access::write_balance;
use super::{Bracket, Dialect, Json};
use crate::domain::charge::explain::{
    ItemExplained, LineItemExplained, Raise, Rule, Shortfall, Standing, Table, Usable,
};
use crate::domain::event::Next;
use crate::domain::ids::Requester;
use crate::domain::line_item::Obstacle;
use crate::explain::{Decided, Explanation, GivenBack};

/// Writes an explanation.
pub(crate) fn write(dialect: &Dialect, explanation: &Explanation) -> Vec<u8> {
    let mut json = Json::with_capacity(1024 + 1024 * explanation.items.len());
    json.open(Bracket::Object);
    json.id("correlationId", explanation.correlation);
    if let Some(refund) = explanation.refund_correlation {
        json.id("refundCorrelationId", refund);
    }
    json.plain("sequence", explanation.sequence);
    json.plain("time", explanation.at);
    json.text("kind", explanation.kind.as_str());
    json.id("instanceId", explanation.instance);
    json.text("accountId", explanation.account.as_str());
    if let Some(session) = explanation.session {
        json.id("sessionId", session);
    }
    if let Some(next) = explanation.next {
        json.text("sessionOutcome", session_outcome(next));
    }
    json.plain("consistent", explanation.consistent);
    if let Some(requester) = &explanation.requester {
        write_requester(&mut json, requester);
    }
    list(&mut json, "items", &explanation.items, |json, item| write_item(json, dialect, item));
    list(&mut json, "refunds", &explanation.refunds, write_refund);
    if !explanation.refunds_counted.is_empty() {
        list(&mut json, "refundsCounted", &explanation.refunds_counted, write_refund);
    }
    list(&mut json, "balances", &explanation.balances, write_balance);
    json.close(Bracket::Object);
    json.into_bytes()
}

/// A list of objects as a member.
fn list<T>(json: &mut Json, name: &'static str, all: &[T], each: impl Fn(&mut Json, &T)) {
    json.open_member(name, Bracket::Array);
    for one in all {
        json.open(Bracket::Object);
        each(json, one);
        json.close(Bracket::Object);
    }
    json.close(Bracket::Array);
}

/// What became of the session.
fn session_outcome(next: Next) -> &'static str {
    match next {
        Next::Unchanged => "UNCHANGED",
        Next::Charged(_) => "CHARGED",
        Next::Halted => "HALTED",
        Next::Terminated => "TERMINATED",
    }
}

fn write_requester(json: &mut Json, requester: &Requester) {
    json.open_member("requester", Bracket::Object);
    json.text("type", requester.kind.as_str());
    json.text("value", requester.value.as_str());
    list(json, "dictionary", requester.dictionary.pairs(), |json, (key, value)| {
        json.text("key", key.as_str());
        json.text("value", value.as_str());
    });
    json.close(Bracket::Object);
}

fn write_item(json: &mut Json, dialect: &Dialect, decided: &Decided) {
    let Decided { item, verdict, too_many_line_items, why } = decided;
    json.text("item", item.name.as_str());
    json.text("version", item.version.as_str());
    json.plain("count", item.count);
    if !item.variables.is_empty() {
        list(json, "variables", item.variables.all(), |json, variable| {
            json.text("name", variable.name.as_str());
            json.plain("value", variable.value);
        });
    }
    json.plain("totalTokensCharged", verdict.total());
    let (code, description) = dialect.status(verdict);
    json.open_member("status", Bracket::Object);
    json.text("code", code);
    json.text("description", description);
    json.close(Bracket::Object);
    if *too_many_line_items {
        json.text("reason", "TOO_MANY_LINE_ITEMS");
    }
    let ItemExplained { line_items, more, shortfall, .. } = why;
    list(json, "lineItems", line_items, write_line_item);
    if *more > 0 {
        json.plain("more", more);
    }
    match shortfall {
        Some(Shortfall::Raise(raise)) => {
            json.open_member("shortfall", Bracket::Object);
            write_raise(json, raise);
            json.close(Bracket::Object);
        }
        Some(Shortfall::Ceiling) => {
            json.null("shortfall");
            json.text("reason", "CEILING");
        }
        Some(Shortfall::Later) => {
            json.null("shortfall");
            json.text("reason", "AFTER_OTHERS");
        }
        None => {}
    }
}

fn write_line_item(json: &mut Json, explained: &LineItemExplained) {
    json.text("activationId", explained.activation_id.as_str());
    match &explained.standing {
        Standing::Unusable(Obstacle::NotElastic) => json.text("standing", "NOT_ELASTIC"),
        Standing::Unusable(Obstacle::NotDeployed(state)) => {
            json.text("standing", "NOT_DEPLOYED");
            json.text("state", state.as_str());
        }
        Standing::Unusable(Obstacle::NotStarted(start)) => {
            json.text("standing", "NOT_STARTED");
            json.plain("start", start);
        }
        Standing::Unusable(Obstacle::Ended(end)) => {
            json.text("standing", "ENDED");
            json.plain("end", end);
        }
        Standing::NoTable { series } => {
            json.text("standing", "NO_RATE_TABLE");
            json.text("series", series.as_str());
        }
        Standing::NotPriced(table) => {
            json.text("standing", "NOT_IN_RATE_TABLE");
            write_table(json, table);
        }
        Standing::Denied { table, rule } => {
            json.text("standing", "DENIED_BY_RULES");
            write_table(json, table);
            write_rule(json, rule.as_ref());
        }
        Standing::FormulaFails { table, formula, error } => {
            json.text("standing", "FORMULA_FAILS");
            write_table(json, table);
            json.text("formula", formula);
            json.text("error", &error.to_string());
        }
        Standing::Usable(usable) => write_usable(json, usable),
    }
}

fn write_usable(json: &mut Json, usable: &Usable) {
    let Usable { table, rate, formula, rule, entitled, with_overdraft, taken } = usable;
    json.text("standing", "USABLE");
    write_table(json, table);
    json.plain("rate", rate);
    if let Some(formula) = formula {
        json.text("formula", formula);
    }
    if rule.is_some() {
        write_rule(json, rule.as_ref());
    }
    json.plain("entitled", entitled);
    json.plain_or_null("withOverdraft", *with_overdraft);
    json.plain("tokensTaken", taken);
}

fn write_table(json: &mut Json, table: &Table) {
    json.open_member("rateTable", Bracket::Object);
    json.text("series", table.series.as_str());
    json.text("version", table.version.as_str());
    json.plain("effectiveFrom", table.effective_from);
    json.close(Bracket::Object);
}

/// The deciding action; `null` where there are actions and none decides.
fn write_rule(json: &mut Json, rule: Option<&Rule>) {
    let Some(Rule { action, name, condition, allocation }) = rule else {
        return json.null("action");
    };
    json.open_member("action", Bracket::Object);
    json.id("id", action);
    json.text("name", name.as_str());
    if let Some((id, condition)) = condition {
        json.id("conditionId", id);
        json.text("conditionName", condition.as_str());
    }
    if let Some((allocation, left)) = allocation {
        json.plain("allocation", allocation);
        json.plain("left", left);
    }
    json.close(Bracket::Object);
}

fn write_raise(json: &mut Json, raise: &Raise) {
    json.text("activationId", raise.activation_id.as_str());
    if raise.quantity > 0 {
        json.plain("quantity", raise.quantity);
        json.plain("quantityNow", raise.quantity_now);
    }
    if let Some(raised) = &raise.allocation {
        json.id("actionId", raised.action);
        json.text("actionName", raised.name.as_str());
        json.plain("allocation", raised.tokens);
        json.plain("allocationNow", raised.now);
    }
}

fn write_refund(json: &mut Json, refund: &GivenBack) {
    json.text("activationId", refund.activation_id.as_str());
    if let Some((name, version)) = &refund.item {
        json.text("item", name.as_str());
        json.text("version", version.as_str());
    }
    json.plain("tokens", refund.tokens);
    if let Some(action) = refund.action {
        json.id("actionId", action);
    }
}

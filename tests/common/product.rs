//! The product's types made of the model's, and the model's of the product's answers.

use std::fmt::Display;
use std::sync::Arc;

use farebox::auth::{Principal, Scope};
use farebox::broker::AccessAnswer;
use farebox::domain::charge::{Denial, Refund, Verdict};
use farebox::domain::configuration::Setting;
use farebox::domain::formula::{Formula, FormulaError};
use farebox::domain::ids::{InstanceId, LineItemNumber, Requester, Text};
use farebox::domain::line_item;
use farebox::domain::price::Price;
use farebox::domain::rates::{NewRateTable, RatedItem};
use farebox::domain::refusal::{Refusal, RefusalKind};
use farebox::domain::request::{AccessRequest, RequestedItem};
use farebox::domain::rules::{Action, Clause, Dictionary, Effect, Operator, Rule};
use farebox::domain::session::{Ended, OnDeny, Session, State};
use farebox::domain::time::{Period, Timestamp};
use farebox::domain::tokens::{AmountError, Count, Decimal, Rate};
use farebox::domain::variables::{Number, Variable, Variables};
use farebox::error::BrokerError;

use super::model::{
    self, Amount, Available, Item, ItemAnswer, LineAnswer, LineItemState, Overdraft, RateTable,
    Refused, SessionState, Standing, Status, Terms, Who, decimal,
};

pub fn text(text: &str) -> Text {
    Text::new(text).expect("a valid text")
}

/// Whatever the product writes as a decimal, read digit by digit.
pub fn amount(written: impl Display) -> Amount {
    decimal(&written.to_string())
}

/// An administrator's right to an instance.
pub fn scope(instance: InstanceId) -> Scope {
    Principal::administration().scope(instance).expect("administration may")
}

pub fn count(amount: &Amount) -> Result<Count, AmountError> {
    let digits = Decimal::parse(&model::text(amount)).expect("a decimal");
    Count::parse(&digits)
}

fn variables(of_model: &model::formula::Variables) -> Result<Variables, Refused> {
    let variable = |(name, value): &(String, Amount)| {
        let digits = Decimal::parse(&model::text(value)).expect("a decimal");
        let value = Number::parse(&digits).map_err(|_| Refused::Invalid)?;
        Ok(Variable { name: text(name), value })
    };
    let variables = of_model.iter().map(variable).collect::<Result<_, Refused>>()?;
    Variables::new(variables).map_err(|_| Refused::Invalid)
}

/// A request of nobody in particular; `tag` names it in its record, as the requester.
pub fn request(tag: &str, items: &[Item]) -> Result<Arc<AccessRequest>, Refused> {
    request_of(tag, &Who::new(), items)
}

/// A request of somebody.
pub fn request_of(tag: &str, who: &Who, items: &[Item]) -> Result<Arc<AccessRequest>, Refused> {
    let item = |item: &Item| {
        let (name, version) = (text(&item.name), text(&item.version));
        let count = count(&item.count).map_err(|_| Refused::Invalid)?;
        let (metadata, variables) = (None, variables(&item.variables)?);
        Ok(RequestedItem { name, version, count, metadata, variables })
    };
    let items = items.iter().map(item).collect::<Result<_, Refused>>()?;
    let pairs = who
        .iter()
        .flat_map(|(key, values)| values.iter().map(move |value| (text(key), text(value))));
    let dictionary = Dictionary::new(pairs.collect());
    let requester = Requester { kind: text("user"), value: text(tag), dictionary };
    Ok(Arc::new(AccessRequest { requester, items }))
}

pub fn asked(request: &AccessRequest) -> Vec<Item> {
    let item = |item: &RequestedItem| Item {
        name: item.name.to_string(),
        version: item.version.to_string(),
        count: amount(item.count),
        variables: item
            .variables
            .all()
            .iter()
            .map(|variable| (variable.name.to_string(), amount(variable.value)))
            .collect(),
    };
    request.items.iter().map(item).collect()
}

pub fn new_table(table: &RateTable) -> NewRateTable {
    try_new_table(table).expect("its formulas are formulas")
}

/// The same of a table whose formulas may be none.
pub fn try_new_table(table: &RateTable) -> Result<NewRateTable, FormulaError> {
    let price = |price: &model::Price| {
        Ok(match price {
            model::Price::Rate(rate) => {
                let digits = Decimal::parse(&model::text(rate)).expect("a decimal");
                Price::Rate(Rate::parse(&digits).expect("a rate"))
            }
            model::Price::Formula(text) => Formula::parse(text)?.into(),
        })
    };
    let item = |item: &model::RatedItem| {
        let (name, version) = (text(&item.name), text(&item.version));
        Ok(RatedItem { name, version, rate: price(&item.price)? })
    };
    Ok(NewRateTable {
        series: text(&table.series),
        version: text(&table.version),
        effective_from: Timestamp::from_ms(table.effective_from),
        items: table.items.iter().map(item).collect::<Result<_, FormulaError>>()?,
    })
}

pub fn model_table(table: &NewRateTable) -> RateTable {
    let item = |item: &RatedItem| model::RatedItem {
        name: item.name.to_string(),
        version: item.version.to_string(),
        price: match &item.rate {
            Price::Rate(rate) => model::Price::Rate(amount(rate)),
            Price::Formula(formula) => model::Price::Formula(formula.to_string()),
        },
    };
    RateTable {
        series: table.series.to_string(),
        version: table.version.to_string(),
        effective_from: table.effective_from.as_ms(),
        items: table.items.iter().map(item).collect(),
    }
}

/// `tag` names the request in its record, as the reset frequency, which nothing depends on.
pub fn new_terms(activation: &str, terms: &Terms, tag: &str) -> line_item::Terms {
    let state = match terms.state {
        LineItemState::Deployed => line_item::LineItemState::Deployed,
        LineItemState::Inactive => line_item::LineItemState::Inactive,
        LineItemState::Obsolete => line_item::LineItemState::Obsolete,
    };
    let overdraft = match terms.overdraft {
        Overdraft::None => line_item::Overdraft::None,
        Overdraft::Number(limit) => {
            line_item::Overdraft::Number(u64::try_from(limit).expect("not negative"))
        }
        Overdraft::Unlimited => line_item::Overdraft::Unlimited,
    };
    line_item::Terms {
        activation_id: text(activation),
        state,
        quantity: u64::try_from(terms.quantity).expect("not negative"),
        start: Timestamp::from_ms(terms.start),
        end: Timestamp::from_ms(terms.end),
        elastic: terms.elastic,
        series: text(&terms.series),
        overdraft,
        reset_frequency: Some(text(tag)),
    }
}

pub fn model_terms(terms: &line_item::Terms) -> Terms {
    let state = match terms.state {
        line_item::LineItemState::Deployed => LineItemState::Deployed,
        line_item::LineItemState::Inactive => LineItemState::Inactive,
        line_item::LineItemState::Obsolete => LineItemState::Obsolete,
    };
    let overdraft = match terms.overdraft {
        line_item::Overdraft::None => Overdraft::None,
        line_item::Overdraft::Number(limit) => {
            Overdraft::Number(i64::try_from(limit).expect("not that large"))
        }
        line_item::Overdraft::Unlimited => Overdraft::Unlimited,
    };
    Terms {
        state,
        quantity: i64::try_from(terms.quantity).expect("not that large"),
        start: terms.start.as_ms(),
        end: terms.end.as_ms(),
        elastic: terms.elastic,
        series: terms.series.to_string(),
        overdraft,
    }
}

pub fn setting(setting: model::Setting) -> Setting {
    match setting {
        model::Setting::TimezoneTolerant(tolerant) => Setting::TimezoneTolerant(tolerant),
        model::Setting::ChargePeriod(ms) => {
            Setting::ChargePeriod(Period::from_ms(ms).expect("not nothing"))
        }
    }
}

pub fn on_deny(on_deny: model::OnDeny) -> OnDeny {
    match on_deny {
        model::OnDeny::RollBack => OnDeny::Rollback,
        model::OnDeny::Terminate => OnDeny::Terminate,
    }
}

/// What a refusal is to the model; anything else that fails is a fault of the test's.
pub fn refused(error: &BrokerError) -> Refused {
    let BrokerError::Refused(refusal, _) = error else { panic!("not a refusal: {error}") };
    match (refusal.kind(), refusal) {
        (RefusalKind::Invalid, _) => Refused::Invalid,
        (RefusalKind::NotFound, _) => Refused::NotFound,
        (RefusalKind::Conflict, _) => Refused::Conflict,
        (RefusalKind::SessionEnded, Refusal::SessionEnded(Ended::Terminated)) => {
            Refused::SessionDead(SessionState::Terminated)
        }
        (RefusalKind::SessionEnded | RefusalKind::Forbidden | RefusalKind::Component, _) => {
            panic!("the model never says: {refusal}")
        }
    }
}

pub fn session_state(session: &Session) -> SessionState {
    match &session.state {
        State::Idle { .. } => SessionState::Idle,
        State::Active(_) => SessionState::Active,
        State::Ended { how: Ended::Terminated, .. } => SessionState::Terminated,
        State::Ended { how: Ended::Failed, .. } => SessionState::Failed,
        State::Leased(_)
        | State::Ended { how: Ended::Closed | Ended::Lapsed | Ended::Revoked, .. } => {
            panic!("the model knows no sessions of components")
        }
    }
}

/// What became of each item; `activation` names line items.
pub fn item_answers(
    request: &AccessRequest,
    verdicts: &[Verdict],
    activation: impl Fn(LineItemNumber) -> String,
) -> Vec<ItemAnswer> {
    self::verdicts(asked(request), verdicts, activation)
}

/// What became of these items; `activation` names line items.
pub fn verdicts(
    items: Vec<Item>,
    verdicts: &[Verdict],
    activation: impl Fn(LineItemNumber) -> String,
) -> Vec<ItemAnswer> {
    let answer = |(item, verdict): (Item, &Verdict)| {
        let (status, takes) = match verdict {
            Verdict::Granted(takes) => (Status::CheckedOut, takes.as_slice()),
            Verdict::Denied(Denial::NoStatus) => (Status::NoStatus, [].as_slice()),
            Verdict::Denied(Denial::UnknownItem) => (Status::ItemNotFound, [].as_slice()),
            Verdict::Denied(Denial::NoLineItem) => (Status::NoActiveLineItem, [].as_slice()),
            Verdict::Denied(Denial::Insufficient) => (Status::Insufficient, [].as_slice()),
        };
        let line = |take: &farebox::domain::charge::Take| LineAnswer {
            activation: activation(take.line_item),
            rate: amount(take.rate),
            tokens: amount(take.tokens),
            action: take.action.map(|action| action.to_string()),
        };
        let lines = takes.iter().map(line).collect();
        ItemAnswer { item, status, total: amount(verdict.total()), lines }
    };
    items.into_iter().zip(verdicts).map(answer).collect()
}

/// [`item_answers`] of an answer, which names the line items that it charged itself.
pub fn answered_items(answer: &AccessAnswer) -> Vec<ItemAnswer> {
    item_answers(answer.request(), answer.verdicts(), |number| {
        let named = answer.postings().iter().find(|posting| posting.line_item == number);
        named.expect("every line item charged is posted").activation_id.to_string()
    })
}

/// How the line items stand that an answer touched.
pub fn standings(answer: &AccessAnswer) -> Vec<Standing> {
    let one = |standing: farebox::domain::balance::LineItemBalance| Standing {
        activation: standing.activation_id.to_string(),
        used: amount(standing.used),
        available: standing
            .available
            .map_or(Available::Unbounded, |tokens| Available::Tokens(amount(tokens))),
    };
    answer.balances().into_iter().map(one).collect()
}

/// Who asked.
pub fn who(request: &AccessRequest) -> Who {
    let mut who = Who::new();
    for (key, value) in request.requester.dictionary.pairs() {
        who.entry(key.to_string()).or_default().insert(value.to_string());
    }
    who
}

pub fn rule(rule: &model::Rule) -> Rule {
    let clause = |clause: &model::Clause| Clause {
        key: text(&clause.key),
        operator: if clause.is_in { Operator::In } else { Operator::Not },
        values: clause.values.iter().map(|value| text(value)).collect(),
    };
    let mut clauses: Vec<_> = rule.clauses.iter().map(clause).collect();
    match (clauses.len(), rule.any) {
        (1, _) => Rule::Simple(clauses.remove(0)),
        (_, true) => Rule::Or(clauses),
        (_, false) => Rule::And(clauses),
    }
}

pub fn model_rule(rule: &Rule) -> model::Rule {
    let clause = |clause: &Clause| model::Clause {
        key: clause.key.to_string(),
        is_in: clause.operator == Operator::In,
        values: clause.values.iter().map(ToString::to_string).collect(),
    };
    let clauses = match rule {
        Rule::Simple(only) => vec![clause(only)],
        Rule::And(clauses) | Rule::Or(clauses) => clauses.iter().map(clause).collect(),
    };
    model::Rule { any: matches!(rule, Rule::Or(_)), clauses }
}

pub fn model_action(action: &Action) -> model::Action {
    let (allow, allocation) = match action.effect {
        Effect::Allow(allocation) => (true, allocation.map(amount)),
        Effect::Deny => (false, None),
    };
    let condition = action.condition.map(|id| id.to_string());
    model::Action { id: action.id.to_string(), condition, allow, allocation }
}

pub fn refunds(refunds: &[Refund]) -> Vec<(String, Amount)> {
    let shown = |refund: &Refund| (refund.activation_id.to_string(), amount(refund.tokens));
    refunds.iter().map(shown).collect()
}

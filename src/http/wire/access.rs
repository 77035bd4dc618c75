//! Access requests and their answers (spec 2.7, 2.8): the hot path.

use super::read::{self, Fault, Flaw, Shape, Value, required, required_name};
use super::{Bracket, Dialect, Json, rules};
use crate::broker::AccessAnswer;
use crate::domain::balance::LineItemBalance;
use crate::domain::charge::{Take, Verdict};
use crate::domain::ids::{Document, Requester, Text};
use crate::domain::limits::ITEMS_MAX;
use crate::domain::line_item::Posting;
use crate::domain::request::{AccessRequest, RequestedItem};
use crate::domain::rules::Dictionary;
use crate::domain::session::OnDeny;
use crate::domain::status::ItemStatus;
use crate::domain::tokens::Count;
use crate::domain::variables::Variables;

/// A read access request, and what of it the answer repeats.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// What the domain decides.
    pub(crate) request: AccessRequest,
    /// What the answer repeats as it was sent.
    pub(crate) echo: Echo<'a>,
}

/// JSON text of the request that its answer repeats (spec 2.7).
#[derive(Debug)]
pub(crate) struct Echo<'a> {
    requester: &'a str,
    items: Vec<ItemEcho<'a>>,
}

#[derive(Debug)]
struct ItemEcho<'a> {
    item: &'a str,
    version: Option<&'a str>,
    requested_version: Option<&'a str>,
    count: Count,
}

/// Reads a one-off request.
pub(crate) fn read_one_off<'a>(body: &'a [u8], dialect: &Dialect) -> Result<Asked<'a>, Fault> {
    match dialect.formulas {
        true => read::object::<OneOff<'_, true>>(body),
        false => read::object::<OneOff<'_, false>>(body),
    }
}

/// Reads an access request of a session.
pub(crate) fn read_of_session<'a>(
    body: &'a [u8],
    dialect: &Dialect,
) -> Result<(Asked<'a>, OnDeny), Fault> {
    match dialect.formulas {
        true => read::object::<OfSession<'_, true>>(body),
        false => read::object::<OfSession<'_, false>>(body),
    }
}

/// What both kinds of request have.
#[derive(Default)]
struct Common<'a, const FORMULAS: bool> {
    requester: Option<(Requester, &'a str)>,
    items: Option<Vec<(RequestedItem, ItemEcho<'a>)>>,
}

impl<'a, const FORMULAS: bool> Common<'a, FORMULAS> {
    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        match member {
            "requester" => self.requester = Some(value.object_as_sent::<RequesterShape>()?),
            _ => self.items = Some(value.list::<ItemShape<'a, FORMULAS>>(ITEMS_MAX)?),
        }
        Ok(())
    }

    fn finish(self) -> Result<Asked<'a>, Flaw> {
        let (requester, sent) = required(self.requester, "requester")?;
        let items = required(self.items, "requestedItems")?;
        let (items, echoes) = items.into_iter().unzip();
        let request = AccessRequest { requester, items };
        Ok(Asked { request, echo: Echo { requester: sent, items: echoes } })
    }
}

#[derive(Default)]
struct OneOff<'a, const FORMULAS: bool>(Common<'a, FORMULAS>);

impl<'a, const FORMULAS: bool> Shape<'a> for OneOff<'a, FORMULAS> {
    type Whole = Asked<'a>;
    const MEMBERS: &'static [&'static str] = &["requester", "requestedItems"];

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        self.0.set(member, value)
    }

    fn finish(self) -> Result<Asked<'a>, Flaw> {
        let asked = self.0.finish()?;
        if asked.request.items.is_empty() {
            return Err(Flaw::of("requestedItems", "no-items", "must name at least one item"));
        }
        Ok(asked)
    }

    fn unknown(member: &str) -> &'static str {
        match member {
            "rollbackOnDeny" => "only a session's request has it: a one-off request is best effort",
            _ => "is not a member of an access request: leave it out",
        }
    }
}

#[derive(Default)]
struct OfSession<'a, const FORMULAS: bool> {
    common: Common<'a, FORMULAS>,
    rollback_on_deny: Option<bool>,
}

impl<'a, const FORMULAS: bool> Shape<'a> for OfSession<'a, FORMULAS> {
    type Whole = (Asked<'a>, OnDeny);
    const MEMBERS: &'static [&'static str] = &["requester", "requestedItems", "rollbackOnDeny"];

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        if member != "rollbackOnDeny" {
            return self.common.set(member, value);
        }
        self.rollback_on_deny = Some(value.boolean()?);
        Ok(())
    }

    fn finish(self) -> Result<Self::Whole, Flaw> {
        let asked = self.common.finish()?;
        let on_deny = match required(self.rollback_on_deny, "rollbackOnDeny")? {
            true => OnDeny::Rollback,
            false => OnDeny::Terminate,
        };
        Ok((asked, on_deny))
    }
}

#[derive(Default)]
struct RequesterShape {
    kind: Option<Text>,
    value: Option<Text>,
    dictionary: Dictionary,
}

impl<'a> Shape<'a> for RequesterShape {
    type Whole = Requester;
    const MEMBERS: &'static [&'static str] = &["type", "value", "dictionary"];

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        match member {
            "type" => self.kind = Some(value.text()?),
            "value" => self.value = Some(value.text()?),
            _ => {
                let document = value.nullable_document()?;
                self.dictionary = document.as_ref().map(rules::dictionary).unwrap_or_default();
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Requester, Flaw> {
        let kind = required_name(self.kind, "type")?;
        let value = required_name(self.value, "value")?;
        Ok(Requester { kind, value, dictionary: self.dictionary })
    }
}

#[derive(Default)]
struct ItemShape<'a, const FORMULAS: bool> {
    item: Option<(Text, &'a str)>,
    version: Option<(Text, &'a str)>,
    requested_version: Option<(Text, &'a str)>,
    count: Option<Count>,
    metadata: Option<Document>,
    variables: Variables,
}

impl<'a, const FORMULAS: bool> Shape<'a> for ItemShape<'a, FORMULAS> {
    type Whole = (RequestedItem, ItemEcho<'a>);
    const MEMBERS: &'static [&'static str] = match FORMULAS {
        true => &["item", "version", "requestedVersion", "count", "metaData", "variables"],
        false => &["item", "version", "requestedVersion", "count", "metaData"],
    };

    fn set(&mut self, member: &'static str, value: Value<'_, 'a>) -> Result<(), Flaw> {
        match member {
            "item" => self.item = Some(value.text_as_sent()?),
            "version" => self.version = value.nullable_text()?,
            "requestedVersion" => self.requested_version = value.nullable_text()?,
            "count" => self.count = Some(value.count()?),
            "metaData" => self.metadata = value.nullable_document()?,
            _ => self.variables = value.nullable_variables()?,
        }
        Ok(())
    }

    fn finish(self) -> Result<Self::Whole, Flaw> {
        let (name, item) = self.item.unzip();
        let (name, item) = (required_name(name, "item")?, required(item, "item")?);
        let count = required(self.count, "count")?;
        let echo = ItemEcho {
            item,
            version: self.version.as_ref().map(|(_, sent)| *sent),
            requested_version: self.requested_version.as_ref().map(|(_, sent)| *sent),
            count,
        };
        let version = match (self.version, self.requested_version) {
            (Some((one, _)), Some((other, _))) if one != other => {
                let sentence = "differs from `version`: send one of the two";
                return Err(Flaw::of("requestedVersion", "conflicting-fields", sentence));
            }
            (Some((version, _)), _) | (None, Some((version, _))) => version,
            (None, None) => Text::empty(),
        };
        let ItemShape { metadata, variables, .. } = self;
        Ok((RequestedItem { name, version, count, metadata, variables }, echo))
    }

    fn unknown(member: &str) -> &'static str {
        match member {
            "variables" => "formulas belong to version 1.1 of the API: leave it out",
            _ => "is not a member of a requested item: leave it out",
        }
    }
}

/// What the query of a request wants of its answer (spec 2.7).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extras {
    /// It is a quote, and says so.
    pub(crate) dry_run: bool,
    /// It says how the line items stand that were touched.
    pub(crate) balances: bool,
}

/// Writes the answer to either kind of request.
pub(crate) fn write(
    dialect: &Dialect,
    echo: &Echo<'_>,
    answer: &AccessAnswer,
    extras: Extras,
) -> Vec<u8> {
    let room = 128 + echo.requester.len() + 256 * echo.items.len();
    let mut json = Json::with_capacity(room);
    json.open(Bracket::Object);
    json.open_member("requestedItems", Bracket::Array);
    for (item, verdict) in echo.items.iter().zip(answer.verdicts()) {
        write_item(&mut json, dialect, item, verdict, answer.postings());
    }
    json.close(Bracket::Array);
    json.raw("requester", echo.requester);
    json.id("correlationId", answer.correlation());
    if extras.dry_run {
        json.plain("dryRun", true);
    }
    if extras.balances {
        json.open_member("balances", Bracket::Array);
        for balance in answer.balances() {
            json.open(Bracket::Object);
            write_balance(&mut json, &balance);
            json.close(Bracket::Object);
        }
        json.close(Bracket::Array);
    }
    json.close(Bracket::Object);
    json.into_bytes()
}

/// The members of a line item that a request touched, as it stood after it.
pub(super) fn write_balance(json: &mut Json, balance: &LineItemBalance) {
    json.text("activationId", balance.activation_id.as_str());
    json.plain("used", balance.used);
    json.plain_or_null("available", balance.available);
}

fn write_item(
    json: &mut Json,
    dialect: &Dialect,
    item: &ItemEcho<'_>,
    verdict: &Verdict,
    postings: &[Posting],
) {
    json.open(Bracket::Object);
    json.raw("item", item.item);
    if let Some(version) = item.version {
        json.raw("version", version);
    }
    if let Some(version) = item.requested_version {
        json.raw("requestedVersion", version);
    }
    json.plain("count", item.count);
    json.plain("totalTokensCharged", verdict.total());
    json.open_member("lineItems", Bracket::Array);
    if let Verdict::Granted(takes) = verdict {
        takes.iter().for_each(|take| write_take(json, take, postings));
    }
    json.close(Bracket::Array);
    let (code, description) = dialect.status(verdict);
    json.open_member("status", Bracket::Object);
    json.text("code", code);
    json.text("description", description);
    json.close(Bracket::Object);
    json.close(Bracket::Object);
}

fn write_take(json: &mut Json, take: &Take, postings: &[Posting]) {
    let posting = postings.iter().find(|posting| posting.line_item == take.line_item);
    let activation_id = posting.map_or("", |posting| posting.activation_id.as_str());
    json.open(Bracket::Object);
    json.plain("rate", take.rate);
    json.text("activationId", activation_id);
    json.plain("tokensCharged", take.tokens);
    if let Some(action) = take.action {
        json.id("actionId", action);
    }
    json.close(Bracket::Object);
}

impl Dialect {
    /// The status of an item (spec 2.7).
    pub(super) fn status(&self, verdict: &Verdict) -> (&'static str, &'static str) {
        let ItemStatus { code, description } = ItemStatus::of(verdict);
        ((self.status_code)(code), description)
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;

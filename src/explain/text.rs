//! An explanation for a person at a terminal.

use std::fmt;

use super::{Decided, Explanation, GivenBack, Kind};
use crate::domain::balance::LineItemBalance;
use crate::domain::charge::explain::{
    LineItemExplained, Raise, Rule, Shortfall, Standing, Table, Usable,
};
use crate::domain::charge::{Denial, Verdict};
use crate::domain::event::Next;
use crate::domain::ids::Text;
use crate::domain::limits::LINE_ITEMS_CHARGED_MAX;
use crate::domain::line_item::{LineItemState, Obstacle};
use crate::domain::time::{DateTime, Timestamp};
use crate::domain::tokens::Tokens;

/// An instant as a date, in UTC.
struct Date(Timestamp);

impl fmt::Display for Date {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DateTime { year, month, day, hour, minute, second, ms } = self.0.date_time();
        write!(formatter, "{year:04}-{month:02}-{day:02} ")?;
        write!(formatter, "{hour:02}:{minute:02}:{second:02}.{ms:03} UTC")
    }
}

/// `1 token`, `2 tokens`.
struct Amount(Tokens);

impl fmt::Display for Amount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.0 == Tokens::whole(1) { "token" } else { "tokens" };
        write!(formatter, "{} {unit}", self.0)
    }
}

/// Name and version, where there is one.
fn named(name: &Text, version: &Text) -> String {
    if version.is_empty() { name.to_string() } else { format!("{name} {version}") }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table { series, version, effective_from } = self;
        if series.is_empty() {
            write!(formatter, "rate table {version}")?;
        } else {
            write!(formatter, "rate table {series} {version}")?;
        }
        write!(formatter, " of {}", Date(*effective_from))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule { action, name, condition, .. } = self;
        write!(formatter, "action `{name}` ({action})")?;
        match condition {
            Some((_, condition)) => write!(formatter, ", whose condition `{condition}` holds"),
            None => write!(formatter, ", the default"),
        }
    }
}

impl fmt::Display for Usable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Usable { table, rate, formula, rule, entitled, with_overdraft, taken } = self;
        let could = match with_overdraft {
            Some(all) if all == entitled => format!("{}", Amount(*all)),
            Some(all) => format!("{}, {entitled} without its overdraft", Amount(*all)),
            None => format!("without bound, {entitled} without its overdraft"),
        };
        write!(formatter, "gave {taken}; could give {could}; {rate} for one count")?;
        if let Some(formula) = formula {
            write!(formatter, " by `{formula}`")?;
        }
        write!(formatter, " ({table})")?;
        if let Some(rule) = rule {
            write!(formatter, "; allowed by {rule}")?;
            if let Some((allocation, left)) = rule.allocation {
                write!(formatter, ", {left} left of {allocation}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Standing::Unusable(Obstacle::NotElastic) => write!(formatter, "is not elastic"),
            Standing::Unusable(Obstacle::NotDeployed(LineItemState::Obsolete)) => {
                write!(formatter, "is OBSOLETE, for good")
            }
            Standing::Unusable(Obstacle::NotDeployed(state)) => {
                write!(formatter, "is {state}, not DEPLOYED")
            }
            Standing::Unusable(Obstacle::NotStarted(start)) => {
                write!(formatter, "starts {}", Date(*start))
            }
            Standing::Unusable(Obstacle::Ended(end)) => write!(formatter, "ended {}", Date(*end)),
            Standing::NoTable { series } if series.is_empty() => {
                write!(formatter, "no rate table without a series has taken effect")
            }
            Standing::NoTable { series } => {
                write!(formatter, "no rate table of series {series} has taken effect")
            }
            Standing::NotPriced(table) => {
                write!(formatter, "the item in this version is not in {table}")
            }
            Standing::Denied { rule: Some(rule), .. } => write!(formatter, "denied by {rule}"),
            Standing::Denied { rule: None, .. } => {
                write!(formatter, "denied: no action's condition holds, and none is the default")
            }
            Standing::FormulaFails { table, formula, error } => {
                write!(formatter, "the formula `{formula}` fails at {error} ({table})")
            }
            Standing::Usable(usable) => usable.fmt(formatter),
        }
    }
}

impl fmt::Display for Raise {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Raise { activation_id, quantity, quantity_now, allocation, .. } = self;
        write!(formatter, "To grant it, asked alone, raise ")?;
        let quantity = (*quantity > 0).then(|| {
            let by = Amount(Tokens::whole(*quantity));
            format!("`{activation_id}`'s quantity by {by} (now {quantity_now})")
        });
        let allocation = allocation.as_ref().map(|raised| {
            let (by, now) = (Amount(Tokens::whole(raised.tokens)), raised.now);
            let (name, action) = (&raised.name, raised.action);
            format!(
                "the allocation of `{activation_id}`'s action `{name}` ({action}) by {by} (now {now})"
            )
        });
        let all: Vec<_> = quantity.into_iter().chain(allocation).collect();
        write!(formatter, "{}.", all.join(" and "))
    }
}

impl fmt::Display for Decided {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let item = named(&self.item.name, &self.item.version);
        write!(formatter, "{} x {item}: ", self.item.count)?;
        match &self.verdict {
            Verdict::Granted(_) => {
                writeln!(formatter, "granted, {}", Amount(self.verdict.total()))?;
            }
            Verdict::Denied(Denial::NoStatus) => {
                writeln!(formatter, "not charged, because another item was denied")?;
            }
            Verdict::Denied(Denial::UnknownItem) => {
                writeln!(formatter, "denied, no rate table that holds has a price for it")?;
            }
            Verdict::Denied(Denial::NoLineItem) => {
                writeln!(formatter, "denied, no line item may be charged")?;
            }
            Verdict::Denied(Denial::Insufficient) if self.too_many_line_items => writeln!(
                formatter,
                "denied, the charge would name more than {LINE_ITEMS_CHARGED_MAX} line items"
            )?,
            Verdict::Denied(Denial::Insufficient) => {
                writeln!(formatter, "denied, too few tokens")?;
            }
        }
        if !self.item.variables.is_empty() {
            let all = self.item.variables.all().iter();
            let all: Vec<_> = all.map(|one| format!("{} = {}", one.name, one.value)).collect();
            writeln!(formatter, "   with {}", all.join(", "))?;
        }
        let standing = |line_item: &LineItemExplained| {
            (line_item.activation_id.to_string(), line_item.standing.to_string())
        };
        write_rows(formatter, self.why.line_items.iter().map(standing))?;
        match self.why.more {
            0 if self.why.line_items.is_empty() => {
                writeln!(formatter, "   the instance has no line item")?;
            }
            0 => {}
            more => writeln!(formatter, "   and {more} more")?,
        }
        match &self.why.shortfall {
            Some(Shortfall::Raise(raise)) => writeln!(formatter, "   {raise}"),
            Some(Shortfall::Ceiling) => writeln!(
                formatter,
                "   Raising a line item does not help: what it may have used at all is bounded."
            ),
            Some(Shortfall::Later) => {
                writeln!(
                    formatter,
                    "   What it lacks can be said once those before it are granted."
                )
            }
            None => Ok(()),
        }
    }
}

/// A table of two columns.
fn write_rows(
    formatter: &mut fmt::Formatter<'_>,
    rows: impl Iterator<Item = (String, String)>,
) -> fmt::Result {
    let rows: Vec<_> = rows.collect();
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    rows.iter().try_for_each(|(name, words)| writeln!(formatter, "   {name:width$}  {words}"))
}

fn write_refunds(
    formatter: &mut fmt::Formatter<'_>,
    heading: &str,
    refunds: &[GivenBack],
) -> fmt::Result {
    if refunds.is_empty() {
        return Ok(());
    }
    writeln!(formatter, "\n{heading}")?;
    let row = |GivenBack { activation_id, item, tokens, .. }: &GivenBack| {
        let item = item.as_ref().map(|(name, version)| named(name, version));
        let item = item.map_or_else(String::new, |item| format!(" of {item}"));
        (activation_id.to_string(), format!("{}{item}", Amount(*tokens)))
    };
    write_rows(formatter, refunds.iter().map(row))
}

/// What a decision is called.
fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::OneOff => "one-off request",
        Kind::Session => "request of a session",
        Kind::AutomaticCharge => "automatic charge of a session",
        Kind::Close => "close of a session",
        Kind::MissedHeartbeat => "end of a session: no heartbeat had come in time",
        Kind::IdleLimit => "end of a session: it had been idle for too long",
    }
}

fn next(next: Next) -> String {
    match next {
        Next::Unchanged => "it went on as it was".to_owned(),
        Next::Charged(period) => format!("charged for {} min", period.as_ms().get() / 60_000),
        Next::Halted => "halted".to_owned(),
        Next::Terminated => "TERMINATED".to_owned(),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "Decision   {}, record {}", self.correlation, self.sequence)?;
        if let Some(refund) = self.refund_correlation {
            writeln!(formatter, "Refund     {refund}")?;
        }
        writeln!(formatter, "What       {}", kind(self.kind))?;
        writeln!(formatter, "When       {}", Date(self.at))?;
        writeln!(formatter, "Instance   {}, account {}", self.instance, self.account)?;
        if let Some(session) = self.session {
            let next = self.next.map_or_else(String::new, |what| format!(", {}", next(what)));
            writeln!(formatter, "Session    {session}{next}")?;
        }
        if let Some(requester) = &self.requester {
            let pairs = requester.dictionary.pairs().iter();
            let pairs: Vec<_> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
            let pairs =
                if pairs.is_empty() { String::new() } else { format!(" ({})", pairs.join(", ")) };
            writeln!(formatter, "Requester  {} {}{pairs}", requester.kind, requester.value)?;
        }
        if !self.consistent {
            writeln!(
                formatter,
                "\nNOT CONSISTENT: decided again, it does not come to what its record says."
            )?;
        }
        for (number, item) in (1..).zip(&self.items) {
            write!(formatter, "\n{number}. {item}")?;
        }
        for (heading, refunds) in [
            ("Refunded", &self.refunds),
            ("Not refunded, but counted as if it were", &self.refunds_counted),
        ] {
            write_refunds(formatter, heading, refunds)?;
        }
        if !self.balances.is_empty() {
            writeln!(formatter, "\nBalances after it")?;
            let row = |LineItemBalance { activation_id, used, available }: &LineItemBalance| {
                let available =
                    available.map_or("without bound".to_owned(), |left| left.to_string());
                (activation_id.to_string(), format!("used {used}, available {available}"))
            };
            write_rows(formatter, self.balances.iter().map(row))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_shown_as_dates() {
        for (ms, date) in [
            (0, "1970-01-01 00:00:00.000 UTC"),
            (951_782_399_999, "2000-02-28 23:59:59.999 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00.000 UTC"),
            (1_713_355_200_000, "2024-04-17 12:00:00.000 UTC"),
            (1_790_467_199_999, "2026-09-26 23:59:59.999 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00.000 UTC"),
            (253_402_300_799_999, "9999-12-31 23:59:59.999 UTC"),
        ] {
            assert_eq!(Date(Timestamp::from_ms(ms)).to_string(), date);
        }
    }
}

//! How the component API tells what goes wrong: a body that satisfies both of the documented forms
//! (components 5).

use super::time::Rfc3339;
use super::{Bracket, Json};
use crate::domain::components::ComponentRefusal;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::time::Timestamp;
use crate::error::Effect;

/// The symbol and the number of a failure. The numbers are in the domain's table, but for the one
/// that is no refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    symbol: &'static str,
    status: u64,
}

impl Failure {
    /// The request cannot be right.
    pub(crate) const INVALID: Failure = {
        const REFUSAL: &ComponentRefusal = &ComponentRefusal::InvalidRequest(String::new());
        Failure::of(REFUSAL)
    };
    /// It is not the client's fault.
    pub(crate) const INTERNAL: Failure = Failure { symbol: "INTERNAL", status: 1099 };

    /// That of a refusal of the component API.
    pub(crate) const fn of(refusal: &ComponentRefusal) -> Failure {
        Failure { symbol: refusal.symbol(), status: refusal.status() }
    }

    /// That of any refusal: what is gone meanwhile is told as if it had never been there.
    pub(crate) fn of_any(refusal: &Refusal) -> Failure {
        match (refusal, refusal.kind()) {
            (Refusal::Component(refusal), _) => Failure::of(refusal),
            (Refusal::UnknownLicense, _) => Failure::of(&ComponentRefusal::UnknownLicense),
            (Refusal::UnknownProduct, _) => Failure::of(&ComponentRefusal::UnknownProduct),
            (_, RefusalKind::NotFound) => Failure::of(&ComponentRefusal::UnknownSession),
            (_, RefusalKind::SessionEnded) => Failure::of(&ComponentRefusal::SessionClosed),
            (_, RefusalKind::Invalid) => Failure::INVALID,
            (_, RefusalKind::Forbidden | RefusalKind::Conflict | RefusalKind::Component) => {
                Failure::INTERNAL
            }
        }
    }

    /// The body.
    pub(crate) fn write(self, now: Timestamp, error: &str, effect: Option<Effect>) -> Vec<u8> {
        let mut json = Json::with_capacity(160 + 2 * error.len());
        json.open(Bracket::Object);
        json.plain("status", self.status);
        json.plain("success", false);
        json.id("time", Rfc3339(now));
        json.text("error", error);
        json.text("code", self.symbol);
        if let Some(effect) = effect {
            json.text("effect", effect.as_str());
        }
        json.close(Bracket::Object);
        json.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::components::Shortage;
    use crate::domain::ids::Text;
    use crate::domain::tokens::Tokens;

    #[test]
    fn the_document_has_every_symbol_and_its_number() {
        let component = || Text::new("A").unwrap();
        let (required, available) = (Tokens::whole(2), Tokens::whole(1));
        let refusals = [
            ComponentRefusal::InvalidRequest(String::new()),
            ComponentRefusal::UnknownProduct,
            ComponentRefusal::UnknownLicense,
            ComponentRefusal::UnknownInstance,
            ComponentRefusal::InstanceMismatch,
            ComponentRefusal::UnknownUser,
            ComponentRefusal::TermClosed,
            ComponentRefusal::LicenseFull { limit: 1 },
            ComponentRefusal::LicenseNotConcurrent,
            ComponentRefusal::UnknownSession,
            ComponentRefusal::SessionClosed,
            ComponentRefusal::SessionLapsed,
            ComponentRefusal::SessionRevoked,
            Shortage::UnknownComponent(component()).into(),
            Shortage::NoEntitlement(component()).into(),
            Shortage::Tokens { component: component(), required, available }.into(),
            Shortage::Seats { component: component() }.into(),
            ComponentRefusal::NotCheckedOut(component()),
        ];
        let known = refusals.iter().map(Failure::of).chain([Failure::INTERNAL]);
        let known: Vec<String> =
            known.map(|failure| format!("| {} | {} |", failure.symbol, failure.status)).collect();
        let document = include_str!("../../../docs/errors.md").lines();
        let rows = document.filter(|line| {
            let symbol = line.strip_prefix("| ").and_then(|rest| rest.split(' ').next());
            symbol.is_some_and(|symbol| symbol.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
        });
        let rows: Vec<&str> = rows.collect();
        assert_eq!(rows.len(), known.len());
        for (row, known) in rows.iter().zip(&known) {
            assert!(row.starts_with(known), "{row}: {known}");
        }
    }

    #[test]
    fn a_failure_has_both_documented_forms() {
        let body = Failure::INTERNAL.write(Timestamp::from_ms(0), "busy", Some(Effect::None));
        assert_eq!(
            String::from_utf8(body).unwrap(),
            concat!(
                r#"{"status":1099,"success":false,"time":"1970-01-01T00:00:00Z","error":"busy","#,
                r#""code":"INTERNAL","effect":"none"}"#
            )
        );
    }
}

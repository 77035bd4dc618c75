//! What the peers have in common: what they are asked in one world, and how they answer.

use farebox::env::{IdSource, SystemIds};
use uuid::Uuid;

use crate::Anything;
use crate::measure::Charged;
use crate::profile::Profile;
use crate::target::Outcome;

/// The most tokens that both peers count exactly: Lua has no other numbers than doubles.
const TOKENS_MAX: u64 = 1 << 53;

/// What a peer is asked. It is told the cost, which farebox works out from its rate tables.
pub struct Request {
    /// Whole tokens.
    pub cost_tokens: i64,
    /// Who wants what, as it is logged.
    pub logged: String,
    /// Whether each has a key of its own.
    keyed: bool,
}

impl Request {
    /// The request of a profile. Fails if it needs more than one-off requests.
    pub fn of(profile: &Profile) -> Result<Request, Anything> {
        let world = &profile.world;
        let bound = world.requested.iter().any(|item| item.line_item.is_some());
        if !profile.has_only_one_offs() || bound {
            let name = &profile.name;
            return Err(format!("`{name}` is for farebox alone: it needs its rules").into());
        }
        let tokens = world.line_items.iter().try_fold(0, |sum: u64, left| sum.checked_add(*left));
        if tokens.is_none_or(|tokens| tokens > TOKENS_MAX) {
            return Err(format!("an instance has more than {TOKENS_MAX} tokens").into());
        }
        let requested = &world.requested;
        let items =
            requested.iter().map(|item| format!("{} {} {}", item.count, item.item, item.version));
        Ok(Request {
            cost_tokens: i64::try_from(
                requested.iter().map(|item| item.count * item.rate).sum::<u64>(),
            )?,
            logged: format!("user LisaBarry: {}", items.collect::<Vec<_>>().join(", ")),
            keyed: world.keyed,
        })
    }

    /// A key that no request had, if requests have any.
    pub fn key(&self) -> Option<Uuid> {
        self.keyed.then(|| Uuid::from_u128(SystemIds.fresh()))
    }
}

/// What comes of an answer, if there is one: `id=tokens` of each line item that was charged; denied:
/// nothing.
pub fn outcome(answer: Result<String, Anything>) -> Outcome {
    let Ok(answer) = answer else { return Outcome::Unknown };
    let tokens = |charged: &str| charged.split_once('=')?.1.parse::<i128>().ok();
    match answer.split_whitespace().map(tokens).sum::<Option<i128>>() {
        Some(0) => Outcome::Refused,
        Some(tokens) => Outcome::Granted(Charged::exactly(tokens * 1_000_000)),
        None => Outcome::Failed,
    }
}

//! Compile-time limits, and the relations between them that must hold.

use super::tokens::{Tokens, UNITS_PER_TOKEN};

/// Characters in a name or an id (spec 8).
pub const TEXT_CHARS_MAX: usize = 255;
/// Bytes of a request body (spec 8).
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Items in one request, and in one session (spec 8).
pub const ITEMS_MAX: usize = 100;
/// Line items that one set of a session may be charged to: so many names of the longest fit the
/// record that ends the session, whatever else is in it.
pub const LINE_ITEMS_CHARGED_MAX: usize = 400;
/// Actions of one line item: all their counters are in each of its postings (spec 5).
pub const ACTIONS_MAX: usize = 32;
/// Registered keys of one class (spec 2.1).
pub const KEYS_MAX: usize = 1_000;
/// Keys in one request (spec 2.1): their record fits whatever they are.
pub const KEYS_SENT_MAX: usize = 100;
/// Conditions of one instance (spec 5).
pub const CONDITIONS_MAX: usize = 1_000;
/// Names, keys and values of all conditions of one instance, in bytes and four more for each text
/// (spec 5): they are answered in one piece, and kept in one record.
pub const CONDITIONS_BYTES_MAX: usize = 1 << 20;
/// Clauses that one condition joins (spec 5).
pub const CLAUSES_MAX: usize = 32;
/// Values that one clause asks after (spec 5).
pub const CLAUSE_VALUES_MAX: usize = 1_000;
/// Items in one rate table.
pub const RATE_TABLE_ITEMS_MAX: usize = 10_000;
/// Bytes of a `metaData` or `dictionary` object (spec 8).
pub const DOCUMENT_BYTES_MAX: usize = 16 * 1024;
/// Levels of nesting in a `metaData` or `dictionary` object (spec 8).
pub const DOCUMENT_DEPTH_MAX: usize = 16;
/// The greatest count and the greatest rate (spec 8).
pub const COUNT_MAX: u64 = 1_000_000_000;
/// Characters of a formula (spec 2.6).
pub const FORMULA_CHARS_MAX: usize = 1_000;
/// Parentheses, functions and signs of a formula inside one another (spec 2.6).
pub const FORMULA_DEPTH_MAX: usize = 32;
/// Operators, signs and functions of a formula (spec 2.6).
pub const FORMULA_OPERATIONS_MAX: usize = 200;
/// How many of them may be powers, which may cost hundreds of times as much as the others (spec 2.6).
pub const FORMULA_POWERS_MAX: usize = 16;
/// Bits of the numerator and of the denominator of every number in a formula (spec 2.6).
pub const FORMULA_BITS_MAX: usize = 1_024;
/// The greatest whole exponent, whatever its sign, whose power is exact (spec 2.6).
pub const FORMULA_EXPONENT_MAX: usize = 64;
/// The most decimals that a formula rounds to, and the most zeros before the point (spec 2.6).
pub const FORMULA_PRECISION_MAX: usize = 9;
/// Variables of one requested item (spec 2.7).
pub const VARIABLES_MAX: usize = 32;
/// Characters of a variable's name (spec 2.7).
pub const VARIABLE_CHARS_MAX: usize = 64;
/// The most that `used` of a line item may reach (spec 8): what bounds an unlimited overdraft.
pub const USED_MAX: Tokens = match Tokens::from_units(80_000_000_000_000_000_000 * UNITS_PER_TOKEN)
{
    Some(tokens) => tokens,
    None => Tokens::ZERO,
};
/// Live sessions in one answer (spec 2.8).
pub const SESSIONS_LISTED_MAX: usize = 100;
/// Entries of a page where the caller names no size (spec 2.2).
pub const PAGE_SIZE_DEFAULT: usize = 100;
/// The most entries of a page (spec 2.2).
pub const PAGE_SIZE_MAX: usize = 500;
/// The earliest `effectiveFrom`: 2000-01-01.
pub const EFFECTIVE_FROM_MIN_MS: u64 = 946_684_800_000;
/// The latest `effectiveFrom`: 2200-01-01.
pub const EFFECTIVE_FROM_MAX_MS: u64 = 7_258_118_400_000;
/// The latest `start` and `end` of a line item: 9999-12-31T23:59:59.999Z.
pub const TERM_MAX_MS: u64 = 253_402_300_799_999;
/// How far a tolerant time zone widens a line item's window on each side (spec 8).
pub const TOLERANCE_MS: u64 = 12 * 60 * 60 * 1000;
/// The automatic charge interval where nothing else is configured (spec 8).
pub const CHARGE_PERIOD_DEFAULT_MS: u64 = 60 * 60 * 1000;
/// The shortest automatic charge interval (spec 8).
pub const CHARGE_PERIOD_MIN_MS: u64 = 10 * 60 * 1000;
/// The longest automatic charge interval (spec 8).
pub const CHARGE_PERIOD_MAX_MS: u64 = 24 * 60 * 60 * 1000;
/// How long an ended session stays readable, in broker time (spec 4.1).
pub const ENDED_KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1000;
/// Calls on one session that may wait for each other (spec 4.1).
pub const SESSION_CALLS_MAX: u8 = 4;
/// Products of the producer (components 2.1b).
pub const PRODUCTS_MAX: usize = 1_000;
/// Components of one product (components 2.1b).
pub const COMPONENTS_MAX: usize = 1_000;
/// Licences of one instance (components 2.1b).
pub const LICENSES_MAX: usize = 10_000;
/// Entitlements of one licence (components 2.1b): every answer to a checkout lists them all.
pub const ENTITLEMENTS_MAX: usize = 100;
/// Installations that register with one licence (components 2.1a).
pub const INSTALLATIONS_MAX: usize = 100_000;
/// Users that register with one licence (components 2.1a).
pub const USERS_MAX: usize = 100_000;
/// Terms of one licence, its features, and components of one entitlement (components 2.1b).
pub const LICENSE_LISTS_MAX: usize = 100;
/// Checkouts that wait for one pool (components 2.4).
pub const WAITING_PER_POOL_MAX: usize = 64;
/// Checkouts that wait in one instance (components 2.4).
pub const WAITING_PER_INSTANCE_MAX: usize = 1_024;
/// Checkouts of one session that wait (components 2.4).
pub const WAITING_PER_SESSION_MAX: usize = 4;
/// The longest that a checkout waits, in seconds (components 2.4).
pub const WAIT_MAX_S: u64 = 60;
/// Pairs of an identity, and values of one pair (components 2.0).
pub const IDENTITY_PAIRS_MAX: usize = 64;
/// How long a session may stay IDLE (spec 4.2).
pub const IDLE_LIMIT_MS: u64 = 30 * 24 * 60 * 60 * 1000;

const _: () = assert!(USED_MAX.units() > 0, "USED_MAX is an amount");
// Every quantity with every numeric overdraft fits under USED_MAX, so only Unlimited can meet it.
const _: () = assert!(2 * (i64::MAX as i128) * UNITS_PER_TOKEN < USED_MAX.units());
// The dearest item fits an amount: count x rate is exact (spec 3.7).
const _: () = assert!(
    (COUNT_MAX as i128) * 1_000_000_000 * (COUNT_MAX as i128) * 1_000_000_000 < Tokens::MAX.units()
);

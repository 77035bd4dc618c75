//! An instance as it lives: its turn, its line items as decisions see them, and what append checks.
//!
//! The turn is a fair lock. Shared: a one-off request that one line item decides alone. Exclusive:
//! everything else. Its guards travel in messages and fall at the end of the turn, wherever that is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{Notify, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::alarm::Alarm;
use super::gate::Places;
use super::ledger::Cell;
use super::line::{Line, Waiter};
use super::quota::{Quota, Room};
use crate::domain::catalogue::{InstanceCatalogue, InstanceEntry};
use crate::domain::charge::{Balances, Known};
use crate::domain::ids::{InstanceId, LineItemNumber, SessionId, SessionNumber};
use crate::domain::line_item::{Balance, LineItem, Posting};
use crate::domain::session::{Due, Session};
use crate::domain::session_time::SessionTime;
use crate::domain::time::Timestamp;
use crate::domain::tokens::Tokens;

/// The right to decide alone in one line item's own serial turn.
pub(crate) type SharedTurn = OwnedRwLockReadGuard<Roster>;
/// The right to decide anything in the instance.
pub(crate) type ExclusiveTurn = OwnedRwLockWriteGuard<Roster>;

/// The sessions of an instance. Changed in the exclusive turn only, which it lives in.
#[derive(Debug)]
pub(crate) struct Roster {
    live: BTreeMap<SessionNumber, Live>,
    /// Sessions of components and the licences that were taken out of them, both ways, as long as
    /// both last: they share a seat.
    sharing: BTreeMap<SessionId, SessionId>,
    /// What falls due, in the order in which it is to be decided (spec 4.2).
    due: BTreeSet<Due>,
    /// The ended ones, by when they are forgotten.
    ended: BTreeSet<(Timestamp, SessionNumber, SessionId)>,
    /// Checkouts that wait until a pool has enough.
    pub(super) line: Line,
    earliest: Arc<Earliest>,
}

/// A live session.
#[derive(Debug)]
struct Live {
    id: SessionId,
    /// The licence of a session of components.
    license: Option<LineItemNumber>,
    _room: Room,
}

/// When the next event of an instance falls due, for those who do not hold its exclusive turn.
#[derive(Debug)]
struct Earliest {
    instance: InstanceId,
    ms: AtomicU64,
    alarm: Arc<Alarm>,
}

impl Roster {
    /// How many sessions are live.
    pub(crate) fn live(&self) -> usize {
        self.live.len()
    }

    /// Takes in a session, and its place if it is live. One whose seat it shares must be live too,
    /// unless [`Roster::part_from_ended`] comes after.
    pub(crate) fn admit(&mut self, session: &Session, room: Room) {
        if session.forgotten_at().is_none() {
            let lease = session.lease().ok();
            let license = lease.map(|lease| lease.license.number);
            let taken_out = lease.and_then(|lease| lease.offline.as_ref());
            if let Some(partner) = taken_out.and_then(|offline| offline.seat_of) {
                self.sharing.insert(session.id, partner);
                self.sharing.insert(partner, session.id);
            }
            self.live.insert(session.number, Live { id: session.id, license, _room: room });
        }
        self.update(None, session);
    }

    /// Forgets seats shared with sessions that have ended since.
    fn part_from_ended(&mut self) {
        let live = self.live.values().map(|live| live.id);
        let live: BTreeSet<_> = live.filter(|id| self.sharing.contains_key(id)).collect();
        self.sharing.retain(|one, other| live.contains(one) && live.contains(other));
    }

    /// Takes over where a session has got to: `before` is what it had coming until now.
    pub(crate) fn update(&mut self, before: Option<Due>, session: &Session) {
        self.reschedule(before, session.due());
        if let Some(at) = session.forgotten_at() {
            self.live.remove(&session.number);
            if let Some(partner) = self.sharing.remove(&session.id) {
                self.sharing.remove(&partner);
            }
            self.ended.insert((at, session.number, session.id));
            self.dismiss(session.number);
        }
    }

    /// Something is not to come, and something else is.
    pub(super) fn reschedule(&mut self, gone: Option<Due>, coming: Option<Due>) {
        let first = self.due.first().map(|due| due.at);
        if let Some(due) = gone {
            self.due.remove(&due);
        }
        self.due.extend(coming);
        let now_first = self.due.first().map(|due| due.at);
        if now_first != first {
            let Earliest { instance, ms, alarm } = self.earliest.as_ref();
            ms.store(now_first.map_or(u64::MAX, SessionTime::as_ms), Ordering::SeqCst);
            alarm.set(*instance, first, now_first);
        }
    }

    /// Whether a session is live.
    pub(crate) fn is_live(&self, session: SessionNumber) -> bool {
        self.live.contains_key(&session)
    }

    /// The newest live sessions of access requests, newest first.
    pub(crate) fn newest(&self, most: usize) -> Vec<SessionId> {
        let sessions = self.live.values().rev().filter(|live| live.license.is_none());
        sessions.take(most).map(|live| live.id).collect()
    }

    /// The live sessions of a licence, and what is taken out of it, in order of creation.
    pub(crate) fn of_license(&self, license: LineItemNumber) -> Vec<SessionId> {
        let leases = self.live.values().filter(|live| live.license == Some(license));
        leases.map(|live| live.id).collect()
    }

    /// The checkouts of a licence that wait in line, in order.
    pub(crate) fn waiting_of(&self, license: LineItemNumber) -> impl Iterator<Item = &Waiter> {
        let is_of_it = move |waiter: &&Waiter| {
            self.live.get(&waiter.session).is_some_and(|live| live.license == Some(license))
        };
        self.line.waiting().filter(is_of_it)
    }

    /// Whether it shares its seat of the licence with one that lasts.
    pub(crate) fn shares_seat(&self, session: SessionId) -> bool {
        self.sharing.contains_key(&session)
    }

    /// What is to be decided next, if it is due by then, and whose it is.
    pub(crate) fn first_due(&self, now: SessionTime) -> Option<(Due, SessionId)> {
        let due = self.due.first().filter(|due| due.at <= now)?;
        self.live.get(&due.session).map(|live| (*due, live.id))
    }

    /// Takes out the ended sessions whose time is over.
    pub(crate) fn take_forgotten(&mut self, now: Timestamp) -> Vec<(SessionNumber, SessionId)> {
        let mut forgotten = Vec::new();
        while let Some((at, ..)) = self.ended.first()
            && *at <= now
            && let Some((_, number, id)) = self.ended.pop_first()
        {
            forgotten.push((number, id));
        }
        forgotten
    }
}

/// An instance as it lives.
pub(crate) struct Instance {
    pub(crate) entry: Arc<InstanceEntry>,
    pub(crate) shares: Places,
    turn: Arc<RwLock<Roster>>,
    earliest: Arc<Earliest>,
    catalogue: ArcSwap<InstanceCatalogue>,
    /// Line items with nothing entitled left. Only grows in a shared turn; see [`Instance::note`].
    exhausted: ArcSwap<imbl::OrdSet<LineItemNumber>>,
    cell: Mutex<Cell>,
    stirred: Notify,
    is_stirred: AtomicBool,
}

impl Instance {
    pub(crate) fn new(
        entry: Arc<InstanceEntry>,
        shares: Places,
        catalogue: InstanceCatalogue,
        alarm: &Arc<Alarm>,
        (quota, sessions): (&Arc<Quota>, &[Session]),
    ) -> Instance {
        let ms = AtomicU64::new(u64::MAX);
        let earliest = Arc::new(Earliest { instance: entry.id, ms, alarm: Arc::clone(alarm) });
        let mut roster = Roster {
            live: BTreeMap::new(),
            sharing: BTreeMap::new(),
            due: BTreeSet::new(),
            ended: BTreeSet::new(),
            line: Line::default(),
            earliest: Arc::clone(&earliest),
        };
        sessions.iter().for_each(|session| roster.admit(session, quota.take()));
        roster.part_from_ended();
        Instance {
            entry,
            shares,
            turn: Arc::new(RwLock::new(roster)),
            earliest,
            catalogue: ArcSwap::from_pointee(catalogue),
            exhausted: ArcSwap::from_pointee(imbl::OrdSet::new()),
            cell: Mutex::new(Cell::default()),
            stirred: Notify::new(),
            is_stirred: AtomicBool::new(false),
        }
    }

    pub(crate) async fn share(&self) -> SharedTurn {
        Arc::clone(&self.turn).read_owned().await
    }

    pub(crate) async fn exclude(&self) -> ExclusiveTurn {
        Arc::clone(&self.turn).write_owned().await
    }

    /// Whether something is due: then only the exclusive turn may decide. In a shared turn the
    /// answer can only become yes by the passing of time.
    pub(crate) fn is_due(&self, now: SessionTime) -> bool {
        self.earliest.ms.load(Ordering::SeqCst) <= now.as_ms()
    }

    pub(crate) fn catalogue(&self) -> Guard<Arc<InstanceCatalogue>> {
        self.catalogue.load()
    }

    /// Something has changed here that somebody in line may wait for.
    pub(crate) fn stir(&self) {
        self.is_stirred.store(true, Ordering::SeqCst);
        self.stirred.notify_one();
    }

    /// Waits until something changes.
    pub(super) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// Whether the line is to be served: somebody waits, and something has changed since it was.
    pub(super) fn is_stirred(&self, turn: &ExclusiveTurn) -> bool {
        !turn.line.is_empty() && self.is_stirred.load(Ordering::SeqCst)
    }

    /// The line is served now: what changes from here on stirs anew.
    pub(super) fn settle_down(&self) {
        self.is_stirred.store(false, Ordering::SeqCst);
    }

    /// Makes a new version visible. Only inside `append_and_publish`, in the exclusive turn.
    pub(crate) fn publish(&self, catalogue: Arc<InstanceCatalogue>) {
        self.catalogue.store(catalogue);
        // Quantities may have been raised: everybody is asked again.
        self.exhausted.store(Arc::new(imbl::OrdSet::new()));
        self.stir();
    }

    /// Nothing inside can panic half-way, so a poisoned lock is as good as a sound one.
    pub(crate) fn cell(&self) -> MutexGuard<'_, Cell> {
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a decision can see of the balances, given those of `seen`.
    pub(crate) fn view(&self, seen: Vec<(LineItemNumber, Balance)>) -> View {
        View { seen, exhausted: self.exhausted.load_full() }
    }

    /// Notes whether anything entitled is left after a posting; in the turn that decided it. In a
    /// shared turn balances only fall, so there it can only become exhausted; the exclusive turn
    /// may also give back.
    pub(crate) fn note(&self, posting: &Posting) {
        let catalogue = self.catalogue();
        let line_item = catalogue.find(posting.activation_id.as_str());
        if let Some(line_item) = line_item.filter(|named| named.number == posting.line_item) {
            self.mark(line_item, &posting.after);
        }
    }

    /// The same of a balance that its owner has told to the exclusive turn of a decision: nobody has
    /// to ask an empty one again. It is looked for as the decision looked for it.
    pub(crate) fn note_told(&self, number: LineItemNumber, balance: &Balance) {
        let catalogue = self.catalogue();
        let mut line_items = catalogue.in_charging_order();
        if let Some(line_item) = line_items.find(|line_item| line_item.number == number) {
            self.mark(line_item, balance);
        }
    }

    fn mark(&self, line_item: &LineItem, balance: &Balance) {
        let exhausted = line_item.entitled(balance.taken()) == Tokens::ZERO;
        if self.exhausted.load().contains(&line_item.number) != exhausted {
            self.exhausted.rcu(|former| {
                let mut set = imbl::OrdSet::clone(former);
                if exhausted {
                    set.insert(line_item.number);
                } else {
                    set.remove(&line_item.number);
                }
                set
            });
        }
    }
}

/// Balances as far as a turn can see them.
#[derive(Debug)]
pub(crate) struct View {
    seen: Vec<(LineItemNumber, Balance)>,
    exhausted: Arc<imbl::OrdSet<LineItemNumber>>,
}

impl View {
    pub(crate) fn is_exhausted(&self, line_item: LineItemNumber) -> bool {
        self.exhausted.contains(&line_item)
    }

    /// What it will be after these postings.
    pub(crate) fn after(&self, postings: &[Posting]) -> View {
        let posted = postings.iter().map(|posting| (posting.line_item, posting.after.clone()));
        let seen = posted.chain(self.seen.iter().cloned()).collect(); // The first one counts.
        View { seen, exhausted: Arc::clone(&self.exhausted) }
    }

    /// Adds a balance that its owner has told.
    pub(crate) fn add(&mut self, line_item: LineItemNumber, balance: Balance) {
        self.seen.push((line_item, balance));
    }
}

impl Balances for View {
    fn known(&self, line_item: LineItemNumber) -> Known {
        match self.seen.iter().find(|(seen, _)| *seen == line_item) {
            Some((_, balance)) => Known::Balance(balance.clone()),
            None if self.is_exhausted(line_item) => Known::NothingEntitled,
            None => Known::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Limits, Sessions};
    use crate::domain::catalogue::InstanceEntry;
    use crate::domain::ids::{InstanceNumber, Sequence, Text};
    use crate::domain::line_item::Terms;

    use super::super::gate::Gate;

    #[test]
    fn an_empty_line_item_is_passed_over_once_its_owner_has_told_and_until_a_change() {
        let name = Text::new("EMPTY").unwrap();
        let number = LineItemNumber::new(Sequence::new(2));
        let mut catalogue = InstanceCatalogue::default();
        let terms = Terms::new(name, 5, Timestamp::default(), Timestamp::from_ms(1));
        catalogue.insert_terms(number, terms);
        let entry = InstanceEntry {
            number: InstanceNumber::new(Sequence::new(1)),
            id: InstanceId::from_u128(1),
            short_name: Text::empty(),
            account_id: Text::empty(),
            default: false,
            created: Timestamp::default(),
        };
        let shares = Gate::new(Limits::default()).shares();
        let quota = Quota::new(Sessions::default());
        let alarm = Arc::new(Alarm::default());
        let instance =
            Instance::new(Arc::new(entry), shares, catalogue.clone(), &alarm, (&quota, &[]));
        let is_passed_over = || instance.view(Vec::new()).is_exhausted(number);
        let told = |used: u64| {
            let balance = Balance { used: Tokens::whole(used), ..Balance::default() };
            instance.note_told(number, &balance);
        };
        assert!(!is_passed_over(), "nobody knows yet");
        told(4);
        assert!(!is_passed_over());
        told(5);
        assert!(is_passed_over());
        instance.publish(Arc::new(catalogue));
        assert!(!is_passed_over(), "its quantity may have been raised");
        told(5);
        assert!(is_passed_over());
    }
}

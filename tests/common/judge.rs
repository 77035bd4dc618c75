//! Holds what callers were told against the journal, played on the model: each answer and each
//! refusal at the place in the order that it rests on; a refusal that names none, somewhere
//! between what the caller could know and the end of its call.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{AddAssign, RangeInclusive};

use farebox::broker::AccessAnswer;
use farebox::domain::event::{Event, Next, Record};
use farebox::domain::ids::Sequence;
use farebox::domain::refusal::Refusal;
use farebox::error::{BrokerError, Effect};

use super::crowd::{Attempt, Call, Outcome, Told, tagged_who};
use super::keyed;
use super::model::{LineItemState, Model, OnDeny, Refused, SessionState};
use super::product;
use super::replay::Replay;

/// How the calls ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub answers: u64,
    pub quotes: u64,
    pub refusals: u64,
    /// Refusals of requests with an item whose formula fails.
    pub no_price: u64,
    pub vanished: u64,
    pub unknown: u64,
    pub faults: u64,
    /// Records whose caller had hung up.
    pub unheard: u64,
    /// First answers that were given again, and keys that stood for something else.
    pub again: u64,
    pub reused: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.answers += other.answers;
        self.quotes += other.quotes;
        self.refusals += other.refusals;
        self.no_price += other.no_price;
        self.vanished += other.vanished;
        self.unknown += other.unknown;
        self.faults += other.faults;
        self.unheard += other.unheard;
        self.again += other.again;
        self.reused += other.reused;
    }
}

/// Plays the journal and judges every attempt; `may_fail` says which errors were to be expected.
pub fn judge(
    replay: &mut Replay,
    records: &[(Sequence, Record)],
    attempts: &[Attempt],
    may_fail: impl Fn(&BrokerError) -> bool,
) -> Tally {
    let mut tally = Tally::default();
    let mut told = BTreeMap::<Sequence, Vec<(&Attempt, &Told)>>::new();
    let mut refused = Vec::<(&Attempt, &Refusal, RangeInclusive<Sequence>)>::new();
    let may_stop = may_fail(&BrokerError::Stopping);
    let (mut firsts, mut nothing_happened) = keyed::judge(attempts, may_stop, &mut tally);
    for attempt in attempts.iter().filter(|attempt| !is_keyed(attempt)) {
        match &attempt.outcome {
            Outcome::Answered(answer, sequence) => {
                tally.answers += 1;
                if matches!(attempt.call, Call::Quote(..) | Call::QuoteSession(..)) {
                    tally.quotes += 1;
                    nothing_happened.insert(&attempt.tag);
                }
                told.entry(*sequence).or_default().push((attempt, answer));
            }
            Outcome::Failed(BrokerError::Refused(refusal, rests_on)) => {
                tally.refusals += 1;
                tally.no_price += u64::from(matches!(refusal, Refusal::FormulaFailed(_)));
                nothing_happened.insert(&attempt.tag);
                let whole_call = attempt.durable_before..=attempt.last_after;
                assert!(rests_on.is_none_or(|at| whole_call.contains(&at)), "{attempt:?}");
                let places = match (rests_on, refusal) {
                    // A price list of its own moment does not make it wrong: nothing is appended.
                    (Some(at), Refusal::FormulaFailed(_)) => attempt.durable_before..=*at,
                    (Some(at), _) => *at..=*at,
                    (None, _) => whole_call,
                };
                refused.push((attempt, refusal, places));
            }
            Outcome::Failed(error) => {
                assert!(may_fail(error), "{attempt:?}");
                match error.effect() {
                    Effect::Unknown => tally.unknown += 1,
                    Effect::None => {
                        tally.faults += 1;
                        nothing_happened.insert(&attempt.tag);
                    }
                }
            }
            Outcome::Vanished => tally.vanished += 1,
        }
    }
    check_real_time(attempts, &told, records);
    let mut heard = BTreeSet::new();
    let mut tags = BTreeSet::new();
    for (sequence, record) in records {
        replay.record(*sequence, record);
        if let Some(tag) = tag(&record.event) {
            assert!(!nothing_happened.contains(tag), "refused or quoted, and recorded: {record:?}");
            assert!(tags.insert(tag), "recorded twice: {record:?}");
        }
        if let Some(first) = firsts.remove(sequence)
            && keyed::check_first(replay, record, first)
        {
            heard.insert(*sequence);
        }
        for (attempt, told) in told.remove(sequence).unwrap_or_default() {
            if check_answer(replay, attempt, told, record) {
                assert!(heard.insert(*sequence), "one record, two answers: {attempt:?}");
            }
        }
        refused.retain(|(attempt, refusal, places)| {
            let open = !places.contains(sequence) || !is_right(replay, attempt, refusal);
            assert!(!open || sequence < places.end(), "never true: {attempt:?}");
            open
        });
    }
    assert!(firsts.is_empty(), "answers name records that are not there: {firsts:?}");
    assert!(told.is_empty(), "answers rest on records that are not there: {told:?}");
    assert!(refused.is_empty(), "refused for what never was: {refused:?}");
    let by_callers = records.iter().filter(|(_, record)| tag(&record.event).is_some());
    let unheard = by_callers.filter(|(sequence, _)| !heard.contains(sequence)).count();
    tally.unheard = u64::try_from(unheard).expect("small");
    assert!(tally.unheard <= tally.vanished + tally.unknown, "records that nobody asked for");
    tally
}

/// The name that a caller gave its request, if its record has room for one.
fn tag(event: &Event) -> Option<&str> {
    let tag = match event {
        Event::Access(access) => access.request.requester.value.as_str(),
        Event::SessionAccess(access) => access.request.requester.value.as_str(),
        Event::LineItemMapped { terms, .. } => terms.reset_frequency.as_ref()?.as_str(),
        Event::KeysRegistered(_)
        | Event::KeyDeleted { .. }
        | Event::RateTablePublished(_)
        | Event::RateTableDeleted { .. }
        | Event::InstanceCreated { .. }
        | Event::LineItemDeleted { .. }
        | Event::ConditionsSet { .. }
        | Event::ConditionsDeleted { .. }
        | Event::ActionsSet { .. }
        | Event::SessionCreated { .. }
        | Event::SessionClosed(_)
        | Event::AutomaticCharge(_)
        | Event::SessionExpired(_)
        | Event::Heartbeat { .. }
        | Event::Outage(_)
        | Event::Time
        | Event::Configured { .. }
        | Event::TestClock
        | Event::Answered
        | Event::Provisioned(_)
        | Event::Lease(_) => return None,
    };
    (!tag.is_empty()).then_some(tag)
}

/// If one answer came before another call began, it has the lower place.
fn check_real_time(
    attempts: &[Attempt],
    told: &BTreeMap<Sequence, Vec<(&Attempt, &Told)>>,
    records: &[(Sequence, Record)],
) {
    let own: BTreeMap<&str, Sequence> = records
        .iter()
        .filter_map(|(sequence, record)| Some((tag(&record.event)?, *sequence)))
        .collect();
    let mut ends: Vec<(u64, Sequence)> =
        told.iter().flat_map(|(s, all)| all.iter().map(|(a, _)| (a.ended, *s))).collect();
    ends.sort_unstable();
    let mut begins: Vec<&Attempt> = attempts.iter().filter(|a| !is_keyed(a)).collect();
    begins.sort_unstable_by_key(|attempt| attempt.began);
    let (mut ends, mut known) = (ends.into_iter().peekable(), Sequence::ZERO);
    for attempt in begins {
        while let Some((_, sequence)) = ends.next_if(|(ended, _)| *ended < attempt.began) {
            known = known.max(sequence);
        }
        if let Outcome::Answered(_, sequence) = &attempt.outcome {
            assert!(known <= *sequence, "{known} was answered before {attempt:?} was asked");
        }
        if let Some(own) = own.get(attempt.tag.as_str()) {
            assert!(known < *own, "{known} was answered before {attempt:?} was asked");
        }
    }
}

/// Checks an answer where it says that it belongs. Whether the record there is its own.
fn check_answer(replay: &Replay, attempt: &Attempt, told: &Told, record: &Record) -> bool {
    match (&attempt.call, told, &record.event) {
        (
            Call::Access(_, items),
            Told::Access(answer @ AccessAnswer::OneOff(told, _)),
            Event::Access(event),
        ) => {
            assert_eq!(told, event);
            assert_eq!(product::standings(answer), replay.model.standings(), "{attempt:?}");
            assert_eq!(product::asked(&told.request), *items, "{attempt:?}");
            true
        }
        (
            Call::PutSession(_, items, on_deny),
            Told::Access(answer @ AccessAnswer::Session(told, ..)),
            Event::SessionAccess(event),
        ) => {
            assert_eq!(told, event);
            assert_eq!(product::standings(answer), replay.model.standings(), "{attempt:?}");
            assert_eq!(product::asked(&told.request), *items, "{attempt:?}");
            match (told.next, on_deny) {
                (Next::Terminated, OnDeny::RollBack) => panic!("not rolled back: {attempt:?}"),
                (Next::Unchanged, OnDeny::Terminate) => {
                    assert!(items.is_empty(), "not terminated: {attempt:?}");
                }
                (_, _) => {}
            }
            true
        }
        (Call::Quote(..) | Call::QuoteSession(..), Told::Access(told), _) => {
            check_quote(replay, attempt, told);
            false
        }
        (Call::CreateSession(_), Told::Created(told), Event::SessionCreated { id, .. }) => {
            assert_eq!(told, id);
            true
        }
        (Call::CloseSession(asked), Told::Done, Event::SessionClosed(closed)) => {
            assert_eq!(replay.sessions.get(&closed.session), Some(asked));
            true
        }
        (
            Call::MapLineItem(instance, _, _),
            Told::LineItem(told),
            Event::LineItemMapped { terms, .. },
        ) => {
            assert_eq!(told.line_item.terms, *terms);
            assert_eq!(terms.reset_frequency.as_ref().map(|tag| tag.as_str()), Some(&*attempt.tag));
            let used = replay.model.used(&instance.to_string(), terms.activation_id.as_str());
            assert_eq!(Ok(product::amount(told.balance.used)), used, "{attempt:?}");
            true
        }
        (
            Call::DeleteLineItem(_, asked),
            Told::Done,
            Event::LineItemDeleted { activation_id, .. },
        ) => {
            assert_eq!(activation_id.as_str(), asked);
            true
        }
        (Call::Publish(asked), Told::Done, Event::RateTablePublished(table)) => {
            assert_eq!(product::new_table(asked), *table);
            true
        }
        (Call::DeleteTable(asked, _), Told::Done, Event::RateTableDeleted { series, .. }) => {
            assert_eq!(series.as_str(), asked);
            true
        }
        (Call::Condition(..), Told::Done, Event::ConditionsSet { .. })
        | (Call::Actions(..), Told::Done, Event::ActionsSet { .. }) => true,
        // Where there was none the answer rests on whatever record was the last.
        (Call::DeleteConditions(_), Told::Done, _) => false,
        (Call::Heartbeat(session), Told::Done, _) => {
            let view = replay.model.session_view(&session.to_string()).expect("it exists");
            assert!(is_live(view.state), "{attempt:?}");
            false
        }
        (Call::LineItems(instance), Told::LineItems(told), _) => {
            replay.check_line_items(*instance, told);
            false
        }
        (Call::Session(_), Told::Session(told), _) => {
            replay.check_session(told);
            false
        }
        (_, _, _) => panic!("{attempt:?} rests on {record:?}"),
    }
}

/// Checks a quote: where it says that it belongs, the request would have been answered like that.
fn check_quote(replay: &Replay, attempt: &Attempt, told: &AccessAnswer) {
    let (mut model, at) = (asked_by(&replay.model, attempt), told.decided_at().as_ms());
    let open = |instance: &str| model.first_due(instance).filter(|(due, _)| *due <= at);
    match (&attempt.call, told) {
        (Call::Quote(instance, items), AccessAnswer::OneOff(..)) => {
            let instance = instance.to_string();
            assert_eq!(open(&instance), None, "something is due before {attempt:?}");
            let expected = model.quote(at, &instance, items);
            assert_eq!(expected, Ok(product::answered_items(told)), "{attempt:?}");
        }
        (Call::QuoteSession(id, items, on_deny), AccessAnswer::Session(access, pacing, _)) => {
            let (id, instance) = (id.to_string(), replay.instances.get(&access.instance));
            let instance = instance.expect("it was created").to_string();
            assert_eq!(open(&instance), None, "something is due before {attempt:?}");
            let expected = model.quote_session(at, &id, items, *on_deny).expect("it is answered");
            assert_eq!(expected.items, product::answered_items(told), "{attempt:?}");
            assert_eq!(expected.refund, product::refunds(&access.refunds), "{attempt:?}");
            assert_eq!(expected.charged_until, pacing.charged_until.as_ms(), "{attempt:?}");
        }
        (_, _) => panic!("no answer to it: {attempt:?}"),
    }
    assert_eq!(product::standings(told), model.standings(), "{attempt:?}");
}

/// What such a call is told may be older than the call.
fn is_keyed(attempt: &Attempt) -> bool {
    matches!(attempt.call, Call::Under(_))
}

fn is_live(state: SessionState) -> bool {
    matches!(state, SessionState::Idle | SessionState::Active)
}

/// The model, asked by whom the attempt was.
fn asked_by(model: &Model, attempt: &Attempt) -> Model {
    let mut model = model.clone();
    model.ask_as(tagged_who(&attempt.tag));
    model
}

/// Whether the model would refuse now, and for the same reason.
fn is_right(replay: &Replay, attempt: &Attempt, refusal: &Refusal) -> bool {
    let model = &replay.model;
    match (&attempt.call, refusal) {
        (
            Call::PutSession(id, ..)
            | Call::QuoteSession(id, ..)
            | Call::CloseSession(id)
            | Call::Heartbeat(id),
            Refusal::SessionEnded(_),
        ) => model.session_view(&id.to_string()).is_ok_and(|view| !is_live(view.state)),
        (Call::MapLineItem(instance, id, terms), Refusal::LineItemInvalid(_)) => {
            let listed = model.line_items(&instance.to_string()).expect("it exists");
            let known = listed.iter().find(|line| line.activation == *id);
            match known.map(|line| line.terms.state) {
                None => terms.state != LineItemState::Deployed,
                Some(state) => {
                    state == LineItemState::Obsolete && terms.state != LineItemState::Obsolete
                }
            }
        }
        (
            Call::MapLineItem(instance, id, terms),
            Refusal::MappedElsewhere | Refusal::RemovalPending,
        ) => {
            let elsewhere = |other: &&farebox::domain::ids::InstanceId| *other != instance;
            let mut others = replay.instances.values().filter(elsewhere);
            let listed = others.any(|other| model.used(&other.to_string(), id).is_ok());
            match listed {
                true => matches!(refusal, Refusal::MappedElsewhere),
                false => {
                    let told = model.clone().put_line_item(
                        model.now(),
                        &instance.to_string(),
                        id,
                        terms.clone(),
                    );
                    told == Err(Refused::Conflict)
                }
            }
        }
        (Call::DeleteLineItem(instance, id), Refusal::UnknownLineItem) => {
            model.used(&instance.to_string(), id).is_err()
        }
        (Call::DeleteLineItem(instance, id), Refusal::NotObsolete { .. }) => {
            let listed = model.line_items(&instance.to_string()).expect("it exists");
            let not_obsolete = |state| state != LineItemState::Obsolete;
            listed.iter().any(|line| line.activation == *id && not_obsolete(line.terms.state))
        }
        (Call::Actions(instance, id, _), Refusal::UnknownLineItem) => {
            model.used(&instance.to_string(), id).is_err()
        }
        // What it was made from may have gone meanwhile.
        (Call::Condition(..), Refusal::BadCondition { .. })
        | (Call::Actions(..), Refusal::BadAction { .. })
        | (Call::DeleteConditions(_), Refusal::UnknownCondition) => true,
        (Call::DeleteConditions(instance), Refusal::ConditionInUse) => {
            model.has_conditions_in_use(&instance.to_string())
        }
        (Call::Publish(table), Refusal::RateTableExists { .. }) => {
            replay.tables.contains_key(&(table.series.clone(), table.version.clone()))
        }
        (Call::DeleteTable(series, version), Refusal::UnknownRateTable) => {
            !replay.tables.contains_key(&(series.clone(), version.clone()))
        }
        (Call::DeleteTable(series, version), Refusal::RateTableInEffect) => {
            let from = replay.tables.get(&(series.clone(), version.clone()));
            from.is_some_and(|from| *from <= attempt.clock_after)
        }
        (
            Call::Access(instance, items) | Call::Quote(instance, items),
            Refusal::FormulaFailed(_),
        ) => {
            let instance = instance.to_string();
            model.instants_until(attempt.clock_after).into_iter().any(|at| {
                let mut model = asked_by(model, attempt);
                model.access(at, &instance, items) == Err(Refused::Invalid)
            })
        }
        (
            Call::PutSession(id, items, on_deny) | Call::QuoteSession(id, items, on_deny),
            Refusal::FormulaFailed(_),
        ) => {
            let id = id.to_string();
            model.instants_until(attempt.clock_after).into_iter().any(|at| {
                let mut model = asked_by(model, attempt);
                model.put_session(at, &id, items, *on_deny) == Err(Refused::Invalid)
            })
        }
        (_, _) => panic!("nobody may be told so: {attempt:?}"),
    }
}

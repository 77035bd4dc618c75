//! farebox as a library in this process, durable in a directory that is removed again.

mod prepare;

use std::sync::Arc;

use farebox::auth::{Principal, Scope};
use farebox::broker::{AccessAnswer, BeginSession, Broker, LeaseAnswer, Reach};
use farebox::domain::ids::Text;
use farebox::domain::request::AccessRequest;
use farebox::domain::session::OnDeny;
use farebox::domain::tokens::Tokens;
use farebox::env::TestClock;
use farebox::error::{BrokerError, Effect};
use tokio::runtime::Handle;

use super::Outcome;
use super::paid::Paid;
use crate::Anything;
use crate::audit::Taken;
use crate::journal::{self, Used};
use crate::measure::Charged;
use crate::workload::Operation;

pub use prepare::{prepare, request, requested_item};

/// A world in a broker of its own.
pub struct Prepared {
    broker: Broker,
    scopes: Vec<Scope>,
    /// How sessions of components begin in each instance, if the profile has any.
    begins: Vec<BeginSession>,
    request: Arc<AccessRequest>,
    /// What is checked out, and what of it is checked in.
    components: Vec<Text>,
    returned: Vec<Text>,
    /// Charges that a set may consist of.
    parts: usize,
    /// Where time stands still.
    clock: Option<Arc<TestClock>>,
    runtime: Handle,
    home: tempfile::TempDir,
}

/// One caller.
pub struct Connection {
    prepared: Arc<Prepared>,
    caller: Principal,
    sessions: Vec<Option<Session>>,
    lease: Option<Lease>,
}

struct Session {
    id: String,
    paid: Paid,
}

/// A session of components, and what it holds and has spent, in millionths.
struct Lease {
    key: String,
    in_use: i128,
}

impl Prepared {
    /// A caller with so many slots for sessions.
    pub fn connect(self: &Arc<Prepared>, sessions: usize) -> Connection {
        Connection {
            prepared: Arc::clone(self),
            caller: Principal::administration(),
            sessions: std::iter::repeat_with(|| None).take(sessions).collect(),
            lease: None,
        }
    }

    /// Where the broker runs, and its callers beside it: no answer has to wake another runtime.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// See [`crate::target::Prepared::used`].
    ///
    /// # Errors
    /// If a line item cannot be read.
    pub async fn used(&self) -> Result<Taken, Anything> {
        let mut taken = Taken::default();
        for scope in &self.scopes {
            let views = self.broker.line_items(*scope).await?.value;
            taken.add(views.into_iter().map(|view| {
                let (terms, balance) = (&view.line_item.terms, view.balance);
                let used = millionths(balance.used) + millionths(balance.held);
                (terms.activation_id.as_str().to_owned(), terms.quantity, used)
            }));
        }
        Ok(taken)
    }

    /// See [`crate::target::Prepared::advance`].
    ///
    /// # Errors
    /// If something that falls due cannot be run.
    pub async fn advance(&self, ms: u64) -> Result<(), Anything> {
        self.clock.as_ref().ok_or("only the clock of a storm can be moved")?.advance(ms);
        self.broker.catch_up().await?;
        Ok(())
    }

    /// See [`crate::target::Prepared::journal`].
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn journal(&self) -> Result<Used, Anything> {
        journal::used(self.home.path())
    }

    /// See [`crate::target::Prepared::close`].
    ///
    /// # Errors
    /// If the journal had failed.
    pub async fn close(&self) -> Result<(), Anything> {
        Ok(self.broker.close().await?)
    }
}

impl Connection {
    /// See [`super::Connection::ask`].
    pub async fn ask(&mut self, operation: Operation) -> Outcome {
        match self.answer(operation).await {
            Ok(Some(charged)) => Outcome::Granted(charged),
            Ok(None) => Outcome::Refused,
            Err(error) => failed(&error),
        }
    }

    /// What was charged; nothing if it was denied, or is about what is not there.
    async fn answer(&mut self, operation: Operation) -> Result<Option<Charged>, BrokerError> {
        let prepared = Arc::clone(&self.prepared);
        match operation {
            Operation::OneOff { instance } => prepared.one_off(instance).await,
            Operation::Create { instance, slot } => {
                let Some(scope) = prepared.scopes.get(instance) else { return Ok(None) };
                let id = prepared.broker.create_session(*scope).await?.value.to_string();
                let Some(place) = self.sessions.get_mut(slot) else { return Ok(None) };
                *place = Some(Session { id, paid: Paid::default() });
                Ok(Some(Charged::default()))
            }
            Operation::Put { slot } => match self.session(slot) {
                Some(session) => session.put(&prepared).await,
                None => Ok(None),
            },
            Operation::Heartbeat { slot } => {
                let Some(session) = self.session(slot) else { return Ok(None) };
                let pacing = prepared.broker.heartbeat(Reach::Everywhere, &session.id).await?;
                Ok(Some(session.paid.prolong(pacing.value.charged_until.as_ms())))
            }
            Operation::Close { slot } => {
                let Some(session) = self.session(slot) else { return Ok(None) };
                let earliest = prepared.broker.now();
                prepared.broker.close_session(Reach::Everywhere, &session.id).await?;
                let latest = prepared.broker.now();
                Ok(Some(session.paid.close(earliest.as_ms(), latest.as_ms())))
            }
            Operation::Begin { instance } => {
                let Some(begin) = prepared.begins.get(instance) else { return Ok(None) };
                let began = prepared.broker.begin_session(&self.caller, begin.clone()).await?;
                let key = began.value.session_id.to_string();
                self.lease = Some(Lease { key, in_use: 0 });
                Ok(Some(Charged::default()))
            }
            Operation::CheckOut => {
                let Some(lease) = &mut self.lease else { return Ok(None) };
                let components = prepared.components.clone();
                let checked_out =
                    prepared.broker.check_out(&self.caller, &lease.key, components, 0).await?;
                Ok(lease.stands(&checked_out.value))
            }
            Operation::CheckIn => {
                let Some(lease) = &mut self.lease else { return Ok(None) };
                let returned = prepared.returned.clone();
                let checked_in =
                    prepared.broker.check_in(&self.caller, &lease.key, returned).await?;
                Ok(lease.stands(&checked_in.value))
            }
            Operation::End => {
                let Some(lease) = self.lease.take() else { return Ok(None) };
                prepared.broker.end_session(&self.caller, &lease.key, false).await?;
                Ok(Some(Charged::default())) // All has come back before that comes back.
            }
        }
    }

    fn session(&mut self, slot: usize) -> Option<&mut Session> {
        self.sessions.get_mut(slot)?.as_mut()
    }
}

impl Prepared {
    async fn one_off(&self, instance: usize) -> Result<Option<Charged>, BrokerError> {
        let Some(scope) = self.scopes.get(instance) else { return Ok(None) };
        let answer = self.broker.access(*scope, Arc::clone(&self.request)).await?;
        Ok(total(&answer.value).map(Charged::exactly))
    }
}

impl Session {
    async fn put(&mut self, prepared: &Prepared) -> Result<Option<Charged>, BrokerError> {
        let (request, on_deny) = (Arc::clone(&prepared.request), OnDeny::Rollback);
        let (broker, reach) = (&prepared.broker, Reach::Everywhere);
        let answer = broker.session_access(reach, &self.id, request, on_deny).await?.value;
        let (Some(total), AccessAnswer::Session(_, pacing, _)) = (total(&answer), &answer) else {
            return Ok(None);
        };
        Ok(Some(self.paid.put(total, prepared.parts, pacing.charged_until.as_ms())))
    }
}

impl Lease {
    /// By how much more it holds and has spent than before; nothing where it was denied.
    fn stands(&mut self, answer: &LeaseAnswer) -> Option<Charged> {
        if answer.denied.is_some() {
            return None;
        }
        let standing = answer.standing.entitlements.iter();
        let in_use = standing.map(|standing| millionths(standing.tokens_in_use_by_session)).sum();
        let before = std::mem::replace(&mut self.in_use, in_use);
        Some(Charged::exactly(in_use - before))
    }
}

fn millionths(tokens: Tokens) -> i128 {
    tokens.units() / Tokens::MILLIONTH
}

/// What an answer charged; nothing where it charged nothing.
fn total(answer: &AccessAnswer) -> Option<i128> {
    let total = answer.verdicts().iter().map(|verdict| millionths(verdict.total())).sum();
    Some(total).filter(|total| *total > 0)
}

fn failed(error: &BrokerError) -> Outcome {
    match (error, error.effect()) {
        (_, Effect::Unknown) => Outcome::Unknown,
        (BrokerError::Refused(..) | BrokerError::RecordTooLong { .. }, _) => Outcome::Failed,
        (_, Effect::None) => Outcome::Overloaded,
    }
}

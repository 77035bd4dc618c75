//! Usage rows of a running broker: read from its journal, a page at a time (spec 7).

use std::ops::ControlFlow;

use super::Broker;
use crate::domain::ids::{InstanceId, Sequence};
use crate::domain::refusal::Refusal;
use crate::domain::usage::rows;
use crate::error::BrokerError;
use crate::journal::format;
use crate::usage::{UsageError, UsageLine};

/// Which rows are wanted.
#[derive(Clone, Copy, Debug)]
pub struct UsageQuery {
    /// Those of the records after this one.
    pub after: Sequence,
    /// So many; but all rows of a record come together.
    pub limit: usize,
    /// So many records are looked through at most, whether they have rows or not.
    pub records: u64,
    /// Of one instance only.
    pub instance: Option<InstanceId>,
}

/// Rows that can be read: those of the query, up to a record that was durable when it was asked.
pub struct UsagePage {
    broker: Broker,
    query: UsageQuery,
    through: Sequence,
}

impl Broker {
    /// The usage rows after a record (spec 7).
    ///
    /// # Errors
    /// [`Refusal::UnknownInstance`].
    pub fn usage(&self, query: UsageQuery) -> Result<UsagePage, BrokerError> {
        let directory = &self.core().directory;
        if query.instance.is_some_and(|id| directory.instance(id).is_none()) {
            return Err(Refusal::UnknownInstance.into());
        }
        let last = query.after.get().saturating_add(query.records);
        let through = self.journal().durable().min(Sequence::new(last)).max(query.after);
        Ok(UsagePage { broker: self.clone(), query, through })
    }
}

impl UsagePage {
    /// How far the page looks: whoever finds no row in it goes on after this record, everybody
    /// else after that of the last row.
    pub fn through(&self) -> Sequence {
        self.through
    }

    /// Shows `each` the rows, in order, as long as somebody is `wanted`. Reads the disk on this
    /// thread; the broker goes on meanwhile.
    ///
    /// # Errors
    /// [`UsageError::Read`], [`UsageError::Record`]; some rows may have been shown by then.
    pub fn read(
        &self,
        wanted: impl Fn() -> bool,
        each: &mut dyn FnMut(&UsageLine<'_>) -> ControlFlow<()>,
    ) -> Result<(), UsageError> {
        let UsagePage { broker, query, through } = self;
        let directory = &broker.core().directory;
        let (mut shown, mut failed) = (0, None);
        let mut show = |sequence: Sequence, payload: &[u8]| {
            let unreadable = |reason: String| UsageError::Record { sequence, reason };
            let record = format::decode(payload).map_err(|error| unreadable(error.to_string()))?;
            for row in &rows(&record) {
                let instance = directory.instance_numbered(row.instance);
                let instance =
                    instance.ok_or_else(|| unreadable("an unknown instance".to_owned()))?;
                let instance = instance.entry.as_ref();
                if query.instance.is_some_and(|wanted| wanted != instance.id) {
                    break;
                }
                shown += 1;
                if each(&UsageLine { sequence, instance, row }).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            let is_done = shown >= query.limit || sequence >= *through || !wanted();
            Ok(if is_done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        if query.after < *through {
            broker.journal().read(query.after.next(), &mut |sequence, payload| {
                show(sequence, payload).unwrap_or_else(|error| {
                    failed = Some(error);
                    ControlFlow::Break(())
                })
            })?;
        }
        failed.map_or(Ok(()), Err)
    }
}

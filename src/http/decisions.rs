//! Decisions explained (spec 2.13): from the journal, beside everything else, one at a time.

use std::sync::Arc;

use hyper::StatusCode;

use super::answer::Answer;
use super::call::Call;
use super::problem::Problem;
use super::wire::{self, Version};
use crate::broker::Receipt;
use crate::domain::ids::CorrelationId;
use crate::domain::refusal::Refusal;
use crate::error::BrokerError;
use crate::explain::{self, Explanation};

/// `GET /decisions/{correlationId}`
pub(super) async fn explain(call: Call<'_>) -> Result<Answer, Problem> {
    let id = CorrelationId::parse(&call.param("correlationId")).ok_or(Refusal::UnknownDecision)?;
    let permit = Arc::clone(call.explaining()).try_acquire_owned();
    let permit = permit.map_err(|_| BrokerError::JournalBusy { limit: 1 })?;
    let (asker, journal) = (Arc::new(()), call.broker().journal().clone());
    let waiting = Arc::downgrade(&asker);
    let explaining = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        explain::explain(&journal, id, || waiting.strong_count() > 0)
    });
    let explained = explaining.await;
    drop(asker); // It falls as well where the caller goes away: then the reading stops.
    let value = match explained {
        Ok(Ok(Some(explanation))) => explanation,
        Ok(Ok(None)) => return Err(Refusal::UnknownDecision.into()),
        Ok(Err(error)) => {
            tracing::error!(%id, %error, "a decision cannot be explained");
            return Err(BrokerError::Fault.into());
        }
        Err(_) => return Err(BrokerError::Fault.into()), // Its panic is in the log.
    };
    let json = wire::decisions::write(call.dialect(), &value);
    let receipt = Receipt { sequence: value.sequence, value };
    Ok(Answer::json(StatusCode::OK, &receipt, json))
}

/// An explanation as version 1.1 of the API writes it.
pub fn explanation_json(explanation: &Explanation) -> Vec<u8> {
    wire::decisions::write(Version::V1_1.dialect(), explanation)
}

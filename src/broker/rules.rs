//! Rules of access (spec 5): the broker's methods about conditions and actions.

use std::sync::Arc;

use super::{Answer, Broker};
use crate::actors::{ActionsChange, CatalogueMessage, LineItemView};
use crate::auth::Scope;
use crate::domain::ids::{ConditionId, Sequence};
use crate::domain::limits::PAGE_SIZE_DEFAULT;

#[cfg(doc)]
use crate::domain::refusal::Refusal;
use crate::domain::rules::{Condition, NewCondition};

impl Broker {
    /// The conditions of an instance, in order of creation (spec 2.5).
    ///
    /// # Errors
    /// [`Refusal::UnknownInstance`].
    pub async fn conditions(&self, scope: Scope) -> Answer<Vec<Arc<Condition>>> {
        self.read(scope, |_, instance, _, _| async move { Ok(instance.catalogue().conditions()) })
            .await
    }

    /// Adds conditions and changes those that are named by their id; all or nothing. Tells all
    /// conditions of the instance (spec 2.5).
    ///
    /// # Errors
    /// [`Refusal::UnknownInstance`],
    /// [`Refusal::BadCondition`].
    pub async fn set_conditions(
        &self,
        scope: Scope,
        conditions: Vec<NewCondition>,
    ) -> Answer<Vec<Arc<Condition>>> {
        self.check_room().await?;
        self.place(scope, conditions, CatalogueMessage::SetConditions).await
    }

    /// Deletes one condition, or all of an instance, unless an action refers to one of them
    /// (spec 2.5).
    ///
    /// # Errors
    /// [`Refusal::UnknownInstance`],
    /// [`Refusal::UnknownCondition`],
    /// [`Refusal::ConditionInUse`].
    pub async fn delete_conditions(&self, scope: Scope, id: Option<ConditionId>) -> Answer<()> {
        self.place(scope, id, CatalogueMessage::DeleteConditions).await
    }

    /// Changes who may use a line item, and how much of it (spec 2.4, 5).
    ///
    /// # Errors
    /// [`Refusal::UnknownInstance`],
    /// [`Refusal::UnknownLineItem`],
    /// [`Refusal::BadAction`],
    /// [`Refusal::ActionsExist`].
    pub async fn change_actions(
        &self,
        scope: Scope,
        activation_id: &str,
        change: ActionsChange,
    ) -> Answer<LineItemView> {
        self.check_room().await?;
        let value = (activation_id.to_owned(), change);
        self.place(scope, value, CatalogueMessage::ChangeActions).await
    }

    /// The elastic line items of an instance that were mapped after `after`, with their actions:
    /// 100 of them in order of their mapping, and where the next page begins (spec 2.4).
    ///
    /// # Errors
    /// [`Refusal::UnknownInstance`].
    pub async fn actions(
        &self,
        scope: Scope,
        after: Sequence,
    ) -> Answer<(Vec<LineItemView>, Option<Sequence>)> {
        self.read(scope, move |core, instance, _, _| async move {
            let mut listed: Vec<_> = instance.catalogue().in_charging_order().cloned().collect();
            listed
                .retain(|line_item| line_item.terms.elastic && line_item.number.created() > after);
            listed.sort_by_key(|line_item| line_item.number);
            let more = listed.len() > PAGE_SIZE_DEFAULT;
            listed.truncate(PAGE_SIZE_DEFAULT);
            let last = listed.last().map(|line_item| line_item.number.created());
            let views = core.line_item_views(&instance, listed).await?;
            Ok((views, if more { last } else { None }))
        })
        .await
    }
}

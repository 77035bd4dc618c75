//! The supervisor: starts first, hears of every death, restarts nobody (see [`rebuild`](super::rebuild)).

use std::sync::Arc;

use metrics::counter;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::Core;
use super::catalogue::CatalogueActor;
use crate::domain::catalogue::Registry;
use crate::journal::Entry;
use crate::metrics::ACTOR_PANICS_TOTAL;

/// Hears of deaths.
struct Root {
    core: Arc<Core>,
}

/// Starts the root and the catalogue, which also owns what of it no snapshot has yet.
pub(crate) async fn start(
    core: &Arc<Core>,
    registry: Registry,
    unsaved: Vec<Entry>,
) -> Result<(), ractor::SpawnErr> {
    let (root, _) = Actor::spawn(None, Root { core: Arc::clone(core) }, ()).await?;
    let cell = root.get_cell();
    let _ = core.root.set(cell.clone()); // Nobody else sets it.
    let catalogue = CatalogueActor { core: Arc::clone(core) };
    let (catalogue, _) = Actor::spawn_linked(None, catalogue, (registry, unsaved), cell).await?;
    let _ = core.catalogue.set(catalogue);
    Ok(())
}

/// Stops all actors. What they own is in the journal.
pub(crate) async fn stop(core: &Core) {
    if let Some(root) = core.root.get() {
        root.stop_children_and_wait(None, None).await;
        let _ = root.stop_and_wait(None, None).await; // It may have stopped by itself.
    }
}

impl Actor for Root {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, _: ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        _: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(actor, error) = event {
            counter!(ACTOR_PANICS_TOTAL).increment(1);
            tracing::error!(actor = %actor.get_id(), %error, "an actor died");
            let catalogue = self.core.catalogue.get().map(|catalogue| catalogue.get_id());
            if catalogue == Some(actor.get_id()) {
                self.core.fail("the catalogue's owner died".to_owned());
            }
            self.core.directory.bury(actor.get_id());
        }
        Ok(())
    }
}

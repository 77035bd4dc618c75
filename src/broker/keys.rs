//! Public keys: registering, deleting and listing them, and telling those who verify tokens.

use std::sync::Arc;

use super::{Answer, Broker};
use crate::actors::{CatalogueMessage, Lane};
use crate::auth::{BadKey, Former, Verifier, canonical_public_key, check_key_id};
use crate::domain::ids::Text;
use crate::domain::keys::{KeyClass, KeyPage, Keys, NewKey, RegisteredKey};
use crate::domain::refusal::Refusal;

impl Broker {
    /// Registers public keys, all of them or none: each is new, or takes the place of the one of
    /// its class and id (spec 2.1). A key that is registered already, in whatever spelling, keeps
    /// its times. Whoever knows the keys by [`Broker::supply_keys`] knows these when the answer
    /// is here.
    ///
    /// ```
    /// use farebox::auth::generate_key_pair;
    /// use farebox::broker::{Broker, Options};
    /// use farebox::domain::keys::{KeyClass, NewKey};
    ///
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// let broker = Broker::open(Options::memory()).await?.broker;
    /// let (id, pem) = ("shop-2".parse()?, generate_key_pair()?.public_pem);
    /// broker.register_keys(vec![NewKey { id, class: KeyClass::Client, pem }]).await?;
    /// assert_eq!(broker.keys().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Refusal::BadKey`], [`Refusal::TooManyKeys`].
    pub async fn register_keys(&self, keys: Vec<NewKey>) -> Answer<()> {
        self.check_room().await?;
        let checked = keys.into_iter().enumerate().map(|(position, key)| {
            let bad = |error: BadKey| Refusal::BadKey(format!("at {position}: {error}"));
            check_key_id(key.id.as_str()).map_err(bad)?;
            let pem = canonical_public_key(&key.pem).map_err(bad)?;
            Ok(NewKey { pem, ..key })
        });
        let keys = checked.collect::<Result<Vec<NewKey>, Refusal>>()?;
        self.ask_catalogue(|reply| CatalogueMessage::RegisterKeys(keys, reply)).await
    }

    /// Deletes a public key. Its tokens hold no more, also those that have been verified before
    /// (spec 2.1).
    ///
    /// # Errors
    /// [`Refusal::UnknownKey`], [`Refusal::LastKey`].
    pub async fn delete_key(&self, class: KeyClass, id: &str) -> Answer<()> {
        let id = Text::new(id).map_err(|_| Refusal::UnknownKey)?;
        self.ask_catalogue(|reply| CatalogueMessage::DeleteKey { class, id, reply }).await
    }

    /// Up to `size` keys of both classes behind this place, in order of creation (spec 2.1).
    ///
    /// # Errors
    /// Only those of the broker itself.
    pub async fn public_keys(&self, after: u64, size: usize) -> Answer<KeyPage> {
        let (reply, answer, deadline) = self.enter(Lane::Ordinary, None)?;
        let page = self.core().ledger.tenant().keys.page(after, size);
        self.core().ledger.after_all(reply.with(Ok(page)));
        self.wait(answer, deadline).await
    }

    /// The registered keys, as they are known now: the disk may not have the latest change yet.
    pub fn keys(&self) -> Vec<Arc<RegisteredKey>> {
        self.core().ledger.tenant().keys.all().cloned().collect()
    }

    /// Has `verifier` believe exactly the registered keys, now and at every change: in the same
    /// step as the change itself, before anybody is told of it.
    ///
    /// # Errors
    /// If a registered key is none. The verifier then knows nobody.
    pub fn supply_keys(&self, verifier: &Arc<Verifier>) -> Result<(), BadKey> {
        let verifier = Arc::clone(verifier);
        self.core().ledger.add_key_holder(move |keys| supply(&verifier, keys)).map(drop)
    }
}

/// Rather nobody is believed than somebody whose key is deleted.
fn supply(verifier: &Verifier, keys: &Keys) -> Result<Former, BadKey> {
    let supplied = verifier.set_keys(keys.all().map(Arc::as_ref));
    if let Err(error) = &supplied {
        tracing::error!(%error, "a registered key is none: no token is believed");
        verifier.set_keys([])?;
    }
    supplied
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread::{self, ThreadId};

    use super::*;
    use crate::auth::generate_key_pair;
    use crate::broker::Options;

    /// What a holder of keys hands back, that says where it is dropped.
    struct Left(mpsc::Sender<ThreadId>);

    impl Drop for Left {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap();
        }
    }

    #[tokio::test]
    async fn what_key_holders_leave_is_not_dropped_by_who_holds_the_lock_of_the_journal() {
        let broker = Broker::open(Options::memory()).await.unwrap().broker;
        let ((told, where_told), (dropped, where_dropped)) = (mpsc::channel(), mpsc::channel());
        let first = broker.core().ledger.add_key_holder(move |_| {
            told.send(thread::current().id()).unwrap();
            Left(dropped.clone())
        });
        drop(first);
        let here = thread::current().id();
        assert_eq!((where_told.recv(), where_dropped.recv()), (Ok(here), Ok(here)));
        let (id, pem) = ("k".parse().unwrap(), generate_key_pair().unwrap().public_pem);
        broker.register_keys(vec![NewKey { id, class: KeyClass::Client, pem }]).await.unwrap();
        let under_the_lock = where_told.recv().unwrap();
        assert_ne!(where_dropped.recv().unwrap(), under_the_lock);
    }
}

//! Data keys of keyspaces: made and sealed, opened when they are used, sealed anew.

use super::Shared;
use super::catalog::{self, Catalog, CatalogEntry, Saved};
use super::keyring::{self, SealedKey, Wrapping};
use super::keyspace::Slot;
use super::record::{Ciphers, random};
use crate::Result;
use std::sync::Arc;

impl Shared {
    /// Made when needed: expanded keys are most of what a sleeping keyspace would take.
    pub(super) fn ciphers(&self, slot: &Slot) -> Result<Ciphers> {
        catalog::ciphers(&self.catalog, &self.keyring, slot.number)
    }

    /// Writes a new keyspace into the catalog, whose lock is given back; with its data key sealed
    /// by the newest key.
    pub(super) fn register<T>(
        &self,
        number: u64,
        data_key: &[u8; 32],
        write: impl FnOnce(&mut Catalog, SealedKey) -> Result<T>,
    ) -> Result<T> {
        loop {
            // A plugin may be asked: nobody waits for the catalog meanwhile.
            let key = self.keyring.key(self.keyring.newest())?;
            let sealed = key.seal(number, data_key)?;
            let mut catalog = self.catalog.lock();
            if sealed.with == self.keyring.newest() {
                return self.in_catalog(&mut catalog, |catalog| write(catalog, sealed));
            }
        }
    }

    pub(super) fn create(&self, id: &str) -> Result<Arc<Slot>> {
        if let Some(slot) = self.slots.lock().get(id) {
            return Ok(slot.clone());
        }
        if let Some(error) = self.failed() {
            return Err(error);
        }
        let entry = CatalogEntry {
            id: id.into(),
            number: self.options.drive.number()?,
            saved: Saved::default(),
        };
        self.register(entry.number, &random()?, |catalog, key| {
            // Somebody else may have been faster.
            if let Some(slot) = self.slots.lock().get(id) {
                return Ok(slot.clone());
            }
            catalog.add(&entry, key)?;
            let slot = Arc::new(Slot::new(entry.clone(), Vec::new()));
            self.slots.lock().insert(slot.id.clone(), slot.clone());
            Ok(slot)
        })
    }

    /// Seals every data key with a new key.
    pub(super) fn rekey(&self, at: &Wrapping) -> Result<u64> {
        let _alone = self.keyring.rotating.lock();
        let id = self.keyring.add(at)?;
        loop {
            // A plugin may be asked: nobody waits for the catalog meanwhile.
            let ids = self.catalog.lock().sealed_with();
            let keys = self.keyring.fetch(&ids)?;
            let mut catalog = self.catalog.lock();
            if catalog
                .sealed_with()
                .iter()
                .any(|id| !keys.contains_key(id))
            {
                continue;
            }
            let newest = self.keyring.key(id)?;
            let reseal = |number, sealed: &SealedKey| {
                let data_key = keys
                    .get(&sealed.with)
                    .and_then(|key| key.open(number, sealed));
                newest.seal(number, &data_key.ok_or_else(keyring::other_key)?)
            };
            let count = self.in_catalog(&mut catalog, |catalog| catalog.reseal(reseal))?;
            self.keyring.keep(id)?;
            return Ok(count);
        }
    }
}

//! Teams, customers and named budgets, in memory. Readers take no lock.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::store::{HolderKind, HolderRecord};

/// Every team, customer and budget by its id.
#[derive(Debug, Default)]
pub struct HolderDirectory {
    holders: ArcSwap<Holders>,
}

/// By kind and id. Deleted ones stay, so that a late poll cannot revive them.
#[derive(Clone, Debug, Default)]
struct Holders([HashMap<String, Arc<HolderRecord>>; 3]);

fn slot(kind: HolderKind) -> usize {
    match kind {
        HolderKind::Team => 0,
        HolderKind::Customer => 1,
        HolderKind::Budget => 2,
    }
}

impl HolderDirectory {
    /// The holder of this kind and id.
    #[must_use]
    pub fn find(&self, kind: HolderKind, id: &str) -> Option<Arc<HolderRecord>> {
        let holders = self.holders.load();
        holders.0.get(slot(kind))?.get(id).filter(|holder| !holder.deleted).cloned()
    }

    /// [`HolderDirectory::apply`] for what was looked up and is mostly known.
    pub fn take_in(&self, found: &[HolderRecord]) {
        let is_news = |holder: &HolderRecord| {
            self.find(holder.kind, &holder.id).is_none_or(|known| known.revision < holder.revision)
        };
        if found.iter().any(is_news) {
            self.apply(found);
        }
    }

    /// Takes changes in, in force for every request that starts after this returns; what is older than what is known
    /// is passed over.
    pub fn apply(&self, changed: &[HolderRecord]) {
        self.holders.rcu(|current| {
            let mut holders = Holders::clone(current);
            for holder in changed {
                let Some(kind) = holders.0.get_mut(slot(holder.kind)) else { continue };
                let is_news = kind.get(&holder.id).is_none_or(|known| known.revision <= holder.revision);
                if is_news {
                    kind.insert(holder.id.clone(), Arc::new(holder.clone()));
                }
            }
            holders
        });
    }
}

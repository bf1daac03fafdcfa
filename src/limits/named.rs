//! Budgets that keys, teams and customers name. Where one is not known here, the database is asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::table::{LimitTable, PATIENCE};
use crate::domain::FastMap;
use crate::error::GatewayError;
use crate::store::{HolderKind, HolderRecord};

/// How long it is remembered that there is no such budget, or that the database did not say. Longer than a poll takes to bring
/// one that is made meanwhile; shorter, and requests that name what is not there ask the database more often.
const REMEMBERED: Duration = Duration::from_secs(1);
/// Ids remembered at once, which only administrators make up: where there are more, all are forgotten.
const MOST_IDS: usize = 10_000;

/// What became of a look-up, and when.
#[derive(Clone, Copy, Debug)]
struct Failed {
    at: Instant,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// There is no such budget.
    Missing,
    /// The database did not say.
    Away,
}

/// The last look-up of one id. Whoever holds it looks it up; the others wait for what that says.
type LastLookUp = tokio::sync::Mutex<Option<Failed>>;

/// The ids that were looked up in vain.
#[derive(Debug, Default)]
pub(super) struct LookedUp(Mutex<FastMap<String, Arc<LastLookUp>>>);

impl LookedUp {
    fn of(&self, id: &str) -> Arc<LastLookUp> {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = ids.get(id) {
            return Arc::clone(last);
        }
        if ids.len() >= MOST_IDS {
            ids.clear();
        }
        Arc::clone(ids.entry(id.to_owned()).or_default())
    }
}

impl LimitTable {
    /// The budget that a key, a team or a customer names. Where another gateway made it a moment ago, the database is asked: what
    /// it limits must not be without limits meanwhile.
    pub(super) async fn named_budget(
        &self,
        id: Option<&str>,
    ) -> Result<Option<Arc<HolderRecord>>, GatewayError> {
        let Some(id) = id else { return Ok(None) };
        if let Some(budget) = self.holders.find(HolderKind::Budget, id) {
            return Ok(Some(budget));
        }
        // Rare: the future of every request need not have room for it.
        match Box::pin(self.look_for_budget(id)).await {
            Ok(budget) => Ok(Some(budget)),
            Err(Why::Missing) => Err(GatewayError::AccessDenied(format!(
                "the budget {id:?}, which limits this call, is not there: your administrator can make it with /budget/new"
            ))),
            Err(Why::Away) => Err(GatewayError::Overloaded {
                reason: format!("the gateway cannot read the budget {id:?}: its database is away").into(),
                retry_after: REMEMBERED,
            }),
        }
    }

    /// Asks the database, once a while for each id, and waits no longer than for any reading.
    async fn look_for_budget(&self, id: &str) -> Result<Arc<HolderRecord>, Why> {
        let deadline = Instant::now() + PATIENCE;
        let last = self.looked_up.of(id);
        let mut last = tokio::time::timeout_at(deadline, last.lock()).await.map_err(|_| Why::Away)?;
        if let Some(budget) = self.holders.find(HolderKind::Budget, id) {
            return Ok(budget);
        }
        if let Some(failed) = last.filter(|failed| failed.at.elapsed() < REMEMBERED) {
            return Err(failed.why);
        }
        let looked = tokio::time::timeout_at(deadline, self.look_up(HolderKind::Budget, id)).await;
        let why = match looked {
            Ok(Ok(Some(budget))) => return Ok(Arc::new(budget)),
            Ok(Ok(None)) => Why::Missing,
            Ok(Err(_)) | Err(_) => Why::Away,
        };
        *last = Some(Failed { at: Instant::now(), why });
        Err(why)
    }
}

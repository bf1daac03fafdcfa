//! Follows the changes that other instances make to keys: a poll every half second.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::KeyChange;
use crate::store::Store;

/// Between two polls: a change is in force everywhere after this and the time of one query.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Polls for ever and hands over what changed after `revision`, in the order of the changes. While
/// the database is away the keys stay as they are; the log says so once, and once more when it is back.
pub async fn follow_keys(
    store: Store,
    mut revision: i64,
    mut apply: impl FnMut(Vec<KeyChange>),
) -> Infallible {
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_away = false;
    loop {
        ticks.tick().await;
        match store.key_changes_since(revision).await {
            Ok(found) => {
                if is_away {
                    log::info!("changes of keys are followed again");
                    is_away = false;
                }
                revision = found.revision;
                if !found.changes.is_empty() {
                    apply(found.changes);
                }
            }
            Err(error) => {
                if !is_away {
                    log::warn!("changes of keys made elsewhere are not seen for now: {error}");
                    is_away = true;
                }
            }
        }
    }
}

//! Follows the changes that other instances make to teams, customers and budgets: a poll every half second.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::HolderRecord;
use crate::store::Store;

/// Between two polls: a change is in force everywhere after this and the time of one query.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Polls for ever and hands over what changed after `revision`, in the order of the changes. While the database is
/// away everything stays as it is; the log says so once ([`follow_keys`](crate::store::follow_keys) does).
pub async fn follow_holders(
    store: Store,
    mut revision: i64,
    mut apply: impl FnMut(Vec<HolderRecord>),
) -> Infallible {
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match store.holder_changes_since(revision).await {
            Ok((changed, newest)) => {
                revision = newest;
                if !changed.is_empty() {
                    apply(changed);
                }
            }
            Err(error) => log::debug!("changes of limits made elsewhere are not seen for now: {error}"),
        }
    }
}

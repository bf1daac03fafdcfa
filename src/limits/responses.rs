//! Whose a response is that AWS keeps (OpenAI's Responses API): AWS gives it to whoever has its id, the gateway only to the
//! key that made it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::auth::Caller;
use crate::domain::UnixMicros;
use crate::error::GatewayError;
use crate::event::Payer;
use crate::store::{ResponseOwner, Store};

/// Responses whose maker is remembered in memory; older ones are asked of the database.
const MAX_RECENT: usize = 10_000;
/// Responses that wait to be written; more are remembered in memory alone, and the log says so.
const MAX_UNWRITTEN: usize = 10_000;
/// Responses written at once.
const MAX_BATCH: usize = 500;
/// Ids longer than this are nobody's.
const MAX_ID_BYTES: usize = 256;
/// Makers are forgotten after 40 days; AWS keeps a response for 30.
const KEPT_MICROS: i64 = 40 * 24 * 60 * 60 * 1_000_000;
/// How long the writing waits after a failure.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How often it tries; then the responses at hand are given up, and only the master key reaches them later.
const MAX_TRIES: u32 = 60;

/// Who made which response.
#[derive(Debug)]
pub struct ResponseOwners {
    store: Store,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    recent: HashMap<Arc<str>, Payer>,
    /// The same ids, oldest first.
    order: VecDeque<Arc<str>>,
    unwritten: Vec<ResponseOwner>,
    is_writing: bool,
}

impl ResponseOwners {
    /// What this database knows.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, state: Mutex::default() }
    }

    /// A response was made; known here at once, and in the database soon. Called on a worker thread.
    pub fn made(self: &Arc<Self>, response_id: String, payer: Payer, now: UnixMicros) {
        if response_id.len() > MAX_ID_BYTES {
            return;
        }
        let mut state = self.state();
        state.remember(&response_id, payer);
        if state.unwritten.len() >= MAX_UNWRITTEN {
            log::warn!("who made the response {response_id} is not kept: too many wait for the database");
            return;
        }
        state.unwritten.push(ResponseOwner { response_id, payer: payer.to_string(), created_at: now.0 });
        if !std::mem::replace(&mut state.is_writing, true) {
            actix_rt::spawn(Arc::clone(self).write());
        }
    }

    /// Whether the caller made the response. The master key reaches every response, and so does everybody while there is no
    /// master key.
    ///
    /// # Errors
    /// 404 for a key that did not make it, or where nobody knows who did; 503 while the database cannot be asked.
    pub async fn require(&self, caller: &Caller, response_id: &str) -> Result<(), GatewayError> {
        let Caller::Key(key) = caller else { return Ok(()) };
        let own = Payer::Key(key.payer());
        let recent = self.state().recent.get(response_id).copied();
        let is_own = match recent {
            Some(payer) => payer == own,
            None if response_id.len() > MAX_ID_BYTES => false,
            None => {
                let kept = self.store.response_owner(response_id.to_owned()).await.map_err(|error| {
                    log::warn!("who made a response cannot be asked of the database: {error}");
                    GatewayError::Overloaded {
                        reason: "the gateway cannot tell now who made this response".into(),
                        retry_after: RETRY_PAUSE,
                    }
                })?;
                kept.is_some_and(|payer| payer == own.to_string())
            }
        };
        if is_own { Ok(()) } else { Err(GatewayError::NoSuchResponse) }
    }

    /// Writes until nothing waits.
    async fn write(self: Arc<Self>) {
        let mut tries = 0;
        loop {
            let batch = self.next_batch();
            let Some(newest) = batch.last().map(|owner| owner.created_at) else { return };
            let forget_before = UnixMicros(newest.saturating_sub(KEPT_MICROS));
            let kept = self.store.keep_response_owners(batch.clone(), forget_before).await;
            tries = if kept.is_ok() { 0 } else { tries + 1 };
            if let Err(error) = kept {
                if tries >= MAX_TRIES {
                    let count = batch.len();
                    log::error!(
                        "who made {count} responses is not kept, the database does not take it: {error}"
                    );
                    tries = 0;
                    continue;
                }
                self.put_back(batch);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }

    /// The oldest that wait; none of them ends the writing.
    fn next_batch(&self) -> Vec<ResponseOwner> {
        let mut state = self.state();
        let count = state.unwritten.len().min(MAX_BATCH);
        state.is_writing = count > 0;
        state.unwritten.drain(..count).collect()
    }

    fn put_back(&self, batch: Vec<ResponseOwner>) {
        let mut state = self.state();
        drop(state.unwritten.splice(..0, batch));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remember(&mut self, response_id: &str, payer: Payer) {
        // Whoever was told of an id first keeps it.
        if self.recent.contains_key(response_id) {
            return;
        }
        if self.order.len() >= MAX_RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.recent.remove(&oldest);
        }
        let id: Arc<str> = response_id.into();
        self.order.push_back(Arc::clone(&id));
        self.recent.insert(id, payer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::KeyHash;

    #[test]
    fn a_bounded_number_of_responses_is_remembered_and_the_first_maker_stays() {
        let mut state = State::default();
        let (one, two) = (Payer::Key(KeyHash::of("one")), Payer::Key(KeyHash::of("two")));
        for number in 0..=MAX_RECENT {
            state.remember(&format!("resp_{number}"), one);
        }
        state.remember("resp_7", two);
        assert_eq!((state.recent.len(), state.order.len()), (MAX_RECENT, MAX_RECENT));
        assert_eq!(state.recent.get("resp_0"), None);
        assert_eq!(state.recent.get("resp_7"), Some(&one));
    }
}

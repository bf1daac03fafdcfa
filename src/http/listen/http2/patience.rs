//! How long a client may take nothing of an answer that waits for it. Over HTTP/2 the connection tells nothing of that: who
//! gives a stream no window still acknowledges whatever is asked.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use crate::timers::Timers;

tokio::task_local! {
    /// The stream that a task serves.
    static CLIENT: Rc<Client>;
}

/// What is known of the client of one stream.
#[derive(Debug, Default)]
pub(super) struct Client(Cell<Taking>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Taking {
    /// It wants more than there is.
    #[default]
    All,
    /// A part of the answer was handed on for it.
    Handed,
    /// And was seen to wait for it.
    Waiting,
}

impl Client {
    /// The client of the stream that this task serves.
    pub(super) fn of_this_task() -> Option<Rc<Self>> {
        CLIENT.try_with(Rc::clone).ok()
    }

    /// More of the answer is asked for: it has taken what there was.
    pub(super) fn asks(&self) {
        self.0.set(Taking::All);
    }

    /// A part of the answer is on its way to it.
    pub(super) fn is_handed(&self) {
        self.0.set(Taking::Handed);
    }
}

/// Patience with clients, for the tasks of one worker.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    limit: Duration,
    timers: Timers,
}

impl Patience {
    /// Zero: without limit.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, timers: Timers::default() }
    }

    /// Serves a stream, until its client has taken nothing for too long: then the stream is reset, as what is dropped here.
    /// A timer runs only while the client is waited for.
    pub(super) async fn serve(self, stream: impl Future) {
        let client = Rc::new(Client::default());
        let mut stream = pin!(CLIENT.scope(Rc::clone(&client), stream));
        let mut timer = self.timers.timer();
        std::future::poll_fn(|cx| {
            if stream.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            match client.0.get() {
                Taking::All => return Poll::Pending,
                Taking::Handed if self.limit.is_zero() => return Poll::Pending,
                Taking::Handed => {
                    client.0.set(Taking::Waiting);
                    timer.set(self.limit);
                }
                Taking::Waiting => {}
            }
            timer.poll(cx).map(|()| log::debug!("a client has taken nothing for {} s", self.limit.as_secs()))
        })
        .await;
    }
}

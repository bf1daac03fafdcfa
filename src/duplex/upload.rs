//! The body of the request to AWS: the client's events, each in an envelope of ours where AWS wants them signed.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};

use super::{Uplink, UploadFault};
use crate::domain::UnixMicros;
use crate::sign::event_chain::EventChain;

/// The body of one try at AWS. Its end is a clean one only after the client's; else the stream is reset.
#[derive(Debug)]
pub struct UploadBody {
    uplink: Rc<Uplink>,
    turn: u32,
    /// Signs; `None` where a Bedrock API key stands in the head.
    chain: Option<EventChain>,
    is_over: bool,
}

impl UploadBody {
    /// The events from now on, for a new try.
    #[must_use]
    pub fn new(uplink: &Rc<Uplink>, chain: Option<EventChain>) -> Self {
        Self { turn: uplink.next_turn(), uplink: Rc::clone(uplink), chain, is_over: false }
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = UploadFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFault>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let event = ready!(self.uplink.poll_event(self.turn, UnixMicros::now, cx)).transpose();
        self.is_over = !matches!(event, Ok(Some(_)));
        let wrapped = |chain: &mut EventChain, event: &[u8]| chain.wrap(event, UnixMicros::now());
        let bytes = match (event?, &mut self.chain) {
            (Some(event), None) => Some(event),
            (Some(event), Some(chain)) => wrapped(chain, &event),
            // An envelope around nothing says that there are no more.
            (None, Some(chain)) => wrapped(chain, &[]),
            (None, None) => return Poll::Ready(None),
        };
        self.is_over |= bytes.is_none();
        Poll::Ready(Some(bytes.map(Frame::data).ok_or_else(|| self.uplink.fail(UploadFault::Unsignable))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

//! Requests that stream events both ways: the client's frames are found in what arrives, taken out of their signed
//! envelopes, and wrapped anew for AWS, event by event and no faster than AWS takes them.
//!
//! Nothing here knows HTTP or the framework: what arrives is a stream of bytes, what leaves is one.

pub mod envelope;
mod fault;
pub mod frames;
mod uplink;
mod upload;

pub use fault::UploadFault;
pub use uplink::{Guard, Incoming, Uplink, UplinkTerms};
pub use upload::UploadBody;

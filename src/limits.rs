//! Step 3: what a caller may do, and how much of the gateway it may hold while doing it.

mod access;
mod buffer;

pub use access::{may_use_model, require_model, require_operation, wildcard_matches};
pub use buffer::{BufferBudget, BufferedBytes};

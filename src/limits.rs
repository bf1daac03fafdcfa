//! Step 3: what a caller may do, and how much of the gateway it may hold while doing it.

mod access;
mod admission;
pub mod budget;
mod buffer;
pub mod cost_bound;
mod holders;
mod named;
pub mod rate;
mod responses;
mod seating;
mod table;

pub use access::{
    ModelNames, is_restriction, may_use_any, require_model, require_operation, wildcard_matches,
};
pub use admission::{Admission, PossibleCost};
pub use buffer::{BufferBudget, BufferIsFull, BufferedBytes, Holder};
pub use holders::HolderDirectory;
pub use responses::ResponseOwners;
pub use seating::Request;
pub use table::{LimitTable, Subject};

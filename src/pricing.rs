//! Usage → integer nano-dollars, by a price book that says what it does not know.

use serde::{Deserialize, Serialize};

/// The price a call was charged at: the price book's entry and the rates that were used, in picodollars
/// (10⁻¹² USD) a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// The entry of the price book, or `config` for the deployment's own prices.
    pub entry: String,
    /// Field name in LiteLLM's terms (`input_cost_per_token`) and picodollars a unit.
    pub rates: Vec<(String, i64)>,
}

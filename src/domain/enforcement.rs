//! The two ways to hold a budget.

use serde::{Deserialize, Serialize};

/// How strictly a budget is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    /// A request is let in while less than the budget is spent or reserved: the last one may overrun it.
    #[default]
    Standard,
    /// A request is let in only if its worst case still fits: the budget is never overrun.
    Hard,
}

impl Enforcement {
    /// Reads `standard` or `hard`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "standard" => Some(Self::Standard),
            "hard" => Some(Self::Hard),
            _ => None,
        }
    }

    /// The name stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Hard => "hard",
        }
    }
}

//! What a service tier costs as a multiple of the default tier, where neither the list nor the deployment has a price
//! for it: told by the configuration, from a day on.

use crate::domain::UnixMicros;

/// What makes a call cost another price than the default one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DearerOrCheaper {
    /// The tier `priority`.
    Priority,
    /// The tier `flex`.
    Flex,
    /// The tier `reserved`.
    Reserved,
    /// Latency-optimised inference.
    LatencyOptimized,
}

impl DearerOrCheaper {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Priority, Self::Flex, Self::Reserved, Self::LatencyOptimized];

    /// The name in configurations and rows, and at the end of LiteLLM's price fields.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Priority => "priority",
            Self::Flex => "flex",
            Self::Reserved => "reserved",
            Self::LatencyOptimized => "latency_optimized",
        }
    }
}

/// One entry of `tier_multipliers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierMultiplier {
    /// What it is for.
    pub tier: DearerOrCheaper,
    /// Millionths of the price of the default tier.
    pub millionths: u64,
    /// Holds for requests that began at this moment or later, until a later entry does.
    pub from: UnixMicros,
    /// That day as it was written.
    pub day: String,
}

impl TierMultiplier {
    /// The entry that holds at a moment.
    #[must_use]
    pub fn in_force(entries: &[Self], tier: DearerOrCheaper, at: UnixMicros) -> Option<&Self> {
        entries.iter().filter(|entry| entry.tier == tier && entry.from <= at).max_by_key(|entry| entry.from)
    }
}

/// `× 1.75 (priority, from 2026-11-01)`.
impl std::fmt::Display for TierMultiplier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, rest) = (self.millionths / 1_000_000, self.millionths % 1_000_000);
        let decimals = format!("{rest:06}");
        let decimals = decimals.trim_end_matches('0');
        let point = if decimals.is_empty() { "" } else { "." };
        write!(f, "× {whole}{point}{decimals} ({}, from {})", self.tier.as_str(), self.day)
    }
}

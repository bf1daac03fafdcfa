//! Usage → integer nano-dollars, by a price book that says what it does not know.
//!
//! # Whose price
//!
//! The deployment's own prices come first, kind by kind: a kind whose plain price is the deployment's own
//! takes nothing from the list, at any length of prompt. The rest comes from one entry of the list, found as
//! [`mod@lookup`] says.
//!
//! # Which price
//!
//! A field's name carries what changes the price: `_above_200k_tokens` (or another number) when the prompt,
//! cache reads and writes included, is longer than that: then all tokens of the call cost the higher price;
//! `_priority`, `_flex`, `_reserved` by the tier it was served in; `_latency_optimized`. A kind that was used
//! and has no price under its full name makes the call unpriced: no price is ever taken for another. Only where the
//! configuration says what a tier costs as a multiple of the default one ([`TierMultiplier`]), the plain price times
//! that takes the place of a missing price; the row then names the multiplier and its day.
//! An entry is free if the list marks it so (`free`); one without a price is unpriced.
//!
//! # What it comes to
//!
//! Prices are picodollars; counts times prices are summed in 128 bits and rounded once, half to even, to
//! nano-dollars.

pub mod lookup;
pub mod multiplier;
pub mod price_list;
mod rates;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use crate::domain::{NanoUsd, UnixMicros};
use crate::usage::{Reading, Unit, Usage};
use lookup::Named;
pub use multiplier::{DearerOrCheaper, TierMultiplier};
pub use price_list::{BadPriceTable, picodollars};
use price_list::{Dearest, Entries};
use rates::Rates;

/// How sure the cost is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CostBasis {
    /// Usage as AWS reported it × a known price (or the operation is free).
    Exact,
    /// Usage was not seen to the end: an estimate.
    Estimated,
    /// Usage is known, but a price is missing.
    Unpriced,
    /// AWS reported no usage that bedgate understands.
    UsageUnknown,
    /// AWS charges nothing for it (errors, control plane reads, CountTokens).
    Free,
}

impl CostBasis {
    /// The name stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Estimated => "estimated",
            Self::Unpriced => "unpriced",
            Self::UsageUnknown => "usage_unknown",
            Self::Free => "free",
        }
    }
}

/// The price a call was charged at: the price book's entry and the rates that were used, in picodollars
/// (10⁻¹² USD) a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// The entry of the price book, or `config` for the deployment's own prices (`config, <entry>` where
    /// both were used).
    pub entry: Arc<str>,
    /// Field name in LiteLLM's terms (`input_cost_per_token`) and picodollars a unit.
    pub rates: Vec<(Cow<'static, str>, i64)>,
}

/// Every price that is known.
#[derive(Debug)]
pub struct PriceBook {
    entries: Entries,
}

/// Whose price is asked for.
#[derive(Clone, Copy, Debug)]
pub struct PriceQuery<'a> {
    /// The model id sent to AWS: an id, a profile's id or an ARN; empty where there is no model.
    pub model_id: &'a str,
    /// The region asked.
    pub region: &'a str,
    /// `model_info.base_model`: looked up instead of the id.
    pub base_model: Option<&'a str>,
    /// The deployment's own prices: LiteLLM's field names, picodollars a unit.
    pub own: &'a BTreeMap<String, i64>,
    /// What tiers without a price cost as multiples of the default one.
    pub multipliers: &'a [TierMultiplier],
    /// When the call began: the multiplier of that moment counts.
    pub at: UnixMicros,
}

/// What a call is charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The amount; `None` if it is not known.
    pub cost: Option<NanoUsd>,
    /// How sure it is.
    pub basis: CostBasis,
    /// What it was charged at, if anything.
    pub price: Option<Price>,
}

impl Charge {
    /// AWS charges nothing.
    pub const FREE: Self = Self { cost: Some(NanoUsd::ZERO), basis: CostBasis::Free, price: None };
    /// Nobody knows what was used.
    pub const USAGE_UNKNOWN: Self = Self { cost: None, basis: CostBasis::UsageUnknown, price: None };
    /// It is known what was used, not what it costs.
    pub const UNPRICED: Self = Self { cost: None, basis: CostBasis::Unpriced, price: None };

    /// The same amount, of which it is only known that it is at least so much.
    #[must_use]
    pub fn or_more(self) -> Self {
        let basis = if self.basis == CostBasis::Exact { CostBasis::Estimated } else { self.basis };
        Self { basis, ..self }
    }

    /// Both together, if both have a price.
    fn and(self, other: Self) -> Self {
        let cost = self.cost.zip(other.cost).and_then(|(one, other)| one.0.checked_add(other.0));
        let Some(cost) = cost else { return Self::UNPRICED };
        let price = match (self.price, other.price) {
            (Some(one), Some(other)) => Some(Price {
                entry: format!("{}, {}", one.entry, other.entry).into(),
                rates: one.rates.into_iter().chain(other.rates).collect(),
            }),
            (one, other) => one.or(other),
        };
        Self { cost: Some(NanoUsd(cost)), basis: CostBasis::Exact, price }
    }
}

impl PriceBook {
    /// The list prices this program was built with.
    #[must_use]
    pub fn builtin() -> &'static Self {
        // A table that cannot be read would make every call unpriced; a test reads it.
        static BUILTIN: LazyLock<PriceBook> =
            LazyLock::new(|| PriceBook { entries: price_list::builtin().unwrap_or_default() });
        &BUILTIN
    }

    /// A book of other prices, in the table's own form.
    ///
    /// # Errors
    /// If a row cannot be read.
    pub fn parse(table: &str) -> Result<Self, BadPriceTable> {
        Ok(Self { entries: price_list::parse(table)? })
    }

    /// What a call is charged, by what was read of its answer.
    #[must_use]
    pub fn charge(&self, query: &PriceQuery<'_>, reading: &Reading) -> Charge {
        match &reading.usage {
            _ if reading.free => Charge::FREE,
            Some(usage) => match self.price(query, usage) {
                // A part is known, another is missing.
                charge if reading.hides_cost && charge.basis == CostBasis::Exact => {
                    Charge { basis: CostBasis::Estimated, ..charge }
                }
                charge => charge,
            },
            None => Charge::USAGE_UNKNOWN,
        }
    }

    /// What this usage is charged.
    #[must_use]
    pub fn price(&self, query: &PriceQuery<'_>, usage: &Usage) -> Charge {
        let of_model =
            |usage: &Usage| Rates::new(query, lookup::find(&self.entries, query, usage.image)).charge(usage);
        if !usage.is_of_guardrail() {
            return of_model(usage);
        }
        let (units, other_units) = usage.units.iter().partition(|(unit, _)| unit.is_of_guardrail());
        let entry = lookup::find_guardrails(&self.entries, query.region);
        let guardrail = Rates::new(query, entry).charge(&Usage { units, ..Usage::default() });
        let rest = Usage { units: other_units, ..usage.clone() };
        if rest.total_tokens() == 0 && rest.units.is_empty() {
            return guardrail;
        }
        of_model(&rest).and(guardrail)
    }

    /// What calls of this kind are priced by, found once for all that is asked of it.
    #[must_use]
    pub fn quote<'a>(&'a self, query: &PriceQuery<'a>) -> Quote<'a> {
        let found = lookup::find(&self.entries, query, None);
        let rates = Rates::new(query, found);
        Quote {
            is_free: rates.is_free(),
            dearest: rates.dearest(),
            rates,
            max_output_tokens: found.and_then(|(_, entry): Named<'_>| entry.max_output_tokens),
        }
    }
}

/// The prices of a call that is still to be made.
pub struct Quote<'a> {
    rates: Rates<'a>,
    is_free: bool,
    /// Without any where the price of plain input is missing.
    dearest: Cow<'a, [Dearest]>,
    max_output_tokens: Option<u64>,
}

impl Quote<'_> {
    /// The most a call can cost that reads and writes at most so many tokens in the default tier: all input
    /// at the dearest of the input and cache write prices, at the dearest length of prompt. `None` if a
    /// price is missing, or nothing bounds the answer. A call that asks for another tier, or is charged by
    /// other units than tokens, has no worst case here.
    #[must_use]
    pub fn worst_case(&self, input_tokens: u64, max_output_tokens: Option<u64>) -> Option<NanoUsd> {
        if self.is_free {
            return Some(NanoUsd::ZERO);
        }
        rates::worst_case(&self.dearest, input_tokens, self.longest_answer(max_output_tokens))
    }

    /// What so many queries of a reranker cost in the default tier; `None` if the price is missing.
    #[must_use]
    pub fn of_queries(&self, queries: u64) -> Option<NanoUsd> {
        self.rates.charge(&Usage { units: vec![(Unit::Query, queries)], ..Usage::default() }).cost
    }

    /// The longest answer in tokens: what the request asks for, else the most that the model gives.
    #[must_use]
    pub fn longest_answer(&self, asked: Option<u64>) -> Option<u64> {
        asked.or(self.max_output_tokens)
    }
}

#[cfg(test)]
#[path = "pricing/tests.rs"]
mod tests;

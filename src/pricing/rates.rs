//! Usage times rates: which rate each kind of use is charged at, and what it all comes to.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::CostBasis;
use super::lookup::Named;
use super::price_list::{Dearest, threshold_in};
use super::{Charge, DearerOrCheaper, Price, PriceQuery, TierMultiplier};
use crate::domain::{NanoUsd, UnixMicros};
use crate::usage::{ServiceTier, Unit, Usage};

const INPUT: &str = "input_cost_per_token";
const OUTPUT: &str = "output_cost_per_token";
const CACHE_READ: &str = "cache_read_input_token_cost";
const CACHE_WRITE_5M: &str = "cache_creation_input_token_cost";
const CACHE_WRITE_1H: &str = "cache_creation_input_token_cost_above_1hr";

/// A sum is kept in femtodollars (10⁻¹⁵ USD), because a price a second times milliseconds is that fine.
const FEMTO_PER_NANO: i128 = 1_000_000;
const FEMTO_PER_PICO: i128 = 1_000;
/// A factor of one: two multipliers of six decimals each.
const FACTOR_ONE: i128 = 1_000_000_000_000;
const MILLION: i128 = 1_000_000;

/// The prices of one deployment.
pub(super) struct Rates<'a> {
    /// The deployment's own.
    own: &'a BTreeMap<String, i64>,
    /// The list's.
    entry: Option<Named<'a>>,
    multipliers: &'a [TierMultiplier],
    at: UnixMicros,
}

/// A kind of use: how many, of which field, and how many of it make one unit of the price.
struct Kind {
    count: u64,
    fields: &'static [&'static str],
    femto_per_pico: i128,
}

/// A rate, the name it was found under, and whether it is the deployment's own.
struct Rate {
    field: Cow<'static, str>,
    picodollars: i64,
    is_own: bool,
    /// Times this, in parts of [`FACTOR_ONE`]: a price that is missing, made of the plain one.
    factor: Option<i128>,
}

impl<'a> Rates<'a> {
    /// The prices that hold for a call.
    pub(super) fn new(query: &PriceQuery<'a>, entry: Option<Named<'a>>) -> Self {
        Self { own: query.own, entry, multipliers: query.multipliers, at: query.at }
    }

    pub(super) fn charge(&self, usage: &Usage) -> Charge {
        if self.is_free() {
            return self.charged(NanoUsd::ZERO, Vec::new(), None);
        }
        let suffix = Suffix::of(usage, self.threshold(usage));
        let multipliers = self.multipliers_of(&suffix);
        let with_rate = |kind: Kind| {
            let multiplied = || self.multiplied(kind.fields, &suffix, multipliers.as_deref()?);
            Some((self.rate(kind.fields, &suffix).or_else(multiplied)?, kind))
        };
        // Nothing used costs nothing at any price.
        let used = kinds(usage).map(with_rate).collect::<Option<Vec<_>>>();
        let Some(used) = used else { return Charge::UNPRICED };
        let is_multiplied = used.iter().any(|(rate, _)| rate.factor.is_some());
        let one = if is_multiplied { FACTOR_ONE } else { 1 };
        let amounts = used.iter().map(|(rate, kind)| {
            femtodollars(rate.picodollars, kind)?.checked_mul(rate.factor.unwrap_or(one))
        });
        match sum(amounts).and_then(|amount| round_to_nano(amount, one)) {
            Some(cost) => self.charged(cost, used, multipliers.filter(|_| is_multiplied)),
            None => Charge::UNPRICED,
        }
    }

    /// The dearest prices of tokens, for any length of prompt and for each that costs another price; those of the list
    /// are found once. None at all where the price of plain input is missing.
    pub(super) fn dearest(&self) -> Cow<'a, [Dearest]> {
        match self.entry {
            Some((_, entry)) if self.own.is_empty() => {
                Cow::Borrowed(entry.dearest.get_or_init(|| self.dearest_by_length()))
            }
            _ => Cow::Owned(self.dearest_by_length()),
        }
    }

    fn dearest_by_length(&self) -> Vec<Dearest> {
        if self.rate(&[INPUT], &Suffix::default()).is_none() {
            return Vec::new();
        }
        let dearest = |fields: &[&'static str], threshold: Option<u64>| {
            let suffix = Suffix { threshold, ..Suffix::default() };
            fields.iter().filter_map(|field| Some(self.rate(&[*field], &suffix)?.picodollars)).max()
        };
        let lengths = std::iter::once(None).chain(self.thresholds().map(Some));
        let of_length = |threshold: Option<u64>| Dearest {
            longer_than: threshold.map(|thousands| thousands.saturating_mul(1_000)),
            input: dearest(&[INPUT, CACHE_WRITE_5M, CACHE_WRITE_1H], threshold),
            output: dearest(&[OUTPUT], threshold),
        };
        lengths.map(of_length).collect()
    }

    /// Whether the entry is marked as free; one that prices nothing may only wait for its price.
    pub(super) fn is_free(&self) -> bool {
        self.own.is_empty() && self.entry.is_some_and(|(_, entry)| entry.is_free())
    }

    /// The multipliers for everything that makes this price another than the default one; `None` if one is missing.
    fn multipliers_of(&self, suffix: &Suffix) -> Option<Vec<&'a TierMultiplier>> {
        let tier = match suffix.tier {
            ServiceTier::Default => None,
            ServiceTier::Priority => Some(DearerOrCheaper::Priority),
            ServiceTier::Flex => Some(DearerOrCheaper::Flex),
            ServiceTier::Reserved => Some(DearerOrCheaper::Reserved),
        };
        let latency = suffix.latency_optimised.then_some(DearerOrCheaper::LatencyOptimized);
        let wanted = tier.into_iter().chain(latency);
        wanted.map(|tier| TierMultiplier::in_force(self.multipliers, tier, self.at)).collect()
    }

    /// The plain rate times the multipliers, for a kind whose own price is missing.
    fn multiplied(
        &self,
        fields: &[&'static str],
        suffix: &Suffix,
        multipliers: &[&TierMultiplier],
    ) -> Option<Rate> {
        let mut factor = FACTOR_ONE;
        for multiplier in multipliers {
            factor = factor.checked_mul(i128::from(multiplier.millionths))? / MILLION;
        }
        let plain = self.rate(fields, &Suffix { threshold: suffix.threshold, ..Suffix::default() })?;
        (!multipliers.is_empty()).then_some(Rate { factor: Some(factor), ..plain })
    }

    fn charged(
        &self,
        cost: NanoUsd,
        used: Vec<(Rate, Kind)>,
        multipliers: Option<Vec<&TierMultiplier>>,
    ) -> Charge {
        let uses_own = used.iter().any(|(rate, _)| rate.is_own);
        let uses_list = used.iter().any(|(rate, _)| !rate.is_own);
        let listed = self.entry.map(|(name, _)| name);
        let entry = match (uses_own, listed) {
            (true, Some(name)) if uses_list => Some(format!("config, {name}").into()),
            (true, _) => Some("config".into()),
            (false, name) => name.map(Arc::clone),
        };
        let multiplied = multipliers.into_iter().flatten();
        let entry = entry.map(|entry: Arc<str>| {
            multiplied.fold(entry, |entry, multiplier| format!("{entry} {multiplier}").into())
        });
        let rates = used.into_iter().map(|(rate, _)| (rate.field, rate.picodollars)).collect();
        Charge { cost: Some(cost), basis: CostBasis::Exact, price: entry.map(|entry| Price { entry, rates }) }
    }

    /// The rate of the first of these fields that has one under its full name: the deployment's own before
    /// the list's, and none of the list's for a kind whose plain price is the deployment's own.
    fn rate(&self, fields: &[&'static str], suffix: &Suffix) -> Option<Rate> {
        let own = fields.iter().find_map(|field| self.own_rate(field, suffix));
        if own.is_some() || fields.iter().any(|field| self.own.contains_key(*field)) {
            return own;
        }
        let (_, entry) = self.entry?;
        fields.iter().map(|field| suffix.added_to(field)).find_map(|field| {
            let picodollars = entry.rate(&field)?;
            Some(Rate { field, picodollars, is_own: false, factor: None })
        })
    }

    /// The deployment's own rate; its plain price holds at any length of prompt.
    fn own_rate(&self, field: &'static str, suffix: &Suffix) -> Option<Rate> {
        if self.own.is_empty() {
            return None;
        }
        let named = |field: Cow<'static, str>| {
            let picodollars = *self.own.get(field.as_ref())?;
            Some(Rate { field, picodollars, is_own: true, factor: None })
        };
        let flat = Suffix { threshold: None, ..*suffix };
        named(suffix.added_to(field)).or_else(|| named(flat.added_to(field)))
    }

    /// The highest threshold, in thousands of tokens, that the prompt is longer than.
    fn threshold(&self, usage: &Usage) -> Option<u64> {
        let prompt = usage
            .input_tokens
            .saturating_add(usage.cache_read_tokens)
            .saturating_add(usage.cache_write_5m_tokens)
            .saturating_add(usage.cache_write_1h_tokens);
        self.thresholds().filter(|threshold| prompt > threshold * 1_000).max()
    }

    /// Every threshold a field names, in thousands of tokens.
    fn thresholds(&self) -> impl Iterator<Item = u64> {
        let listed = self.entry.into_iter().flat_map(|(_, entry)| entry.thresholds.iter().copied());
        listed.chain(self.own.keys().filter_map(|field| threshold_in(field)))
    }
}

/// What is added to a field's name.
#[derive(Clone, Copy, Default)]
struct Suffix {
    threshold: Option<u64>,
    tier: ServiceTier,
    latency_optimised: bool,
}

impl Suffix {
    fn of(usage: &Usage, threshold: Option<u64>) -> Self {
        Self { threshold, tier: usage.tier, latency_optimised: usage.latency_optimised }
    }

    /// The field's full name; mostly nothing is added.
    fn added_to(&self, field: &'static str) -> Cow<'static, str> {
        let adds_nothing =
            self.threshold.is_none() && self.tier == ServiceTier::Default && !self.latency_optimised;
        if adds_nothing { Cow::Borrowed(field) } else { Cow::Owned(format!("{field}{self}")) }
    }
}

impl std::fmt::Display for Suffix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(threshold) = self.threshold {
            write!(f, "_above_{threshold}k_tokens")?;
        }
        f.write_str(match self.tier {
            ServiceTier::Default => "",
            ServiceTier::Priority => "_priority",
            ServiceTier::Flex => "_flex",
            ServiceTier::Reserved => "_reserved",
        })?;
        f.write_str(if self.latency_optimised { "_latency_optimized" } else { "" })
    }
}

/// What was used, kind by kind; kinds not used are left out.
fn kinds(usage: &Usage) -> impl Iterator<Item = Kind> {
    let tokens = [
        (usage.input_tokens, &[INPUT]),
        (usage.output_tokens, &[OUTPUT]),
        (usage.cache_read_tokens, &[CACHE_READ]),
        (usage.cache_write_5m_tokens, &[CACHE_WRITE_5M]),
        (usage.cache_write_1h_tokens, &[CACHE_WRITE_1H]),
    ];
    let tokens =
        tokens.into_iter().map(|(count, fields)| Kind { count, fields, femto_per_pico: FEMTO_PER_PICO });
    let units = usage.units.iter().map(|(unit, count)| {
        let (fields, femto_per_pico) = unit_fields(*unit);
        Kind { count: *count, fields, femto_per_pico }
    });
    tokens.chain(units).filter(|kind| kind.count > 0)
}

/// The most that tokens can cost at these prices: all input at the dearest of its prices that the length of the prompt
/// allows, and the longest answer. `None` where a price is missing, or nothing bounds the answer.
pub(super) fn worst_case(
    dearest: &[Dearest],
    input_tokens: u64,
    max_output_tokens: Option<u64>,
) -> Option<NanoUsd> {
    let reached =
        || dearest.iter().filter(|prices| prices.longer_than.is_none_or(|length| input_tokens > length));
    let input = reached().filter_map(|prices| prices.input).max()?;
    // Embeddings and the like have no output to pay.
    let output = match reached().filter_map(|prices| prices.output).max() {
        Some(rate) => i128::from(rate) * i128::from(max_output_tokens?),
        None => 0,
    };
    let picodollars = i128::from(input).checked_mul(i128::from(input_tokens))?.checked_add(output)?;
    round_to_nano(picodollars.checked_mul(FEMTO_PER_PICO)?, 1)
}

/// The fields that price a unit, the more exact first, and femtodollars of one unit in a picodollar of price.
fn unit_fields(unit: Unit) -> (&'static [&'static str], i128) {
    match unit {
        Unit::OutputImage => (&["output_cost_per_image"], FEMTO_PER_PICO),
        Unit::InputImage => (&["input_cost_per_image"], FEMTO_PER_PICO),
        Unit::Query => (&["input_cost_per_query"], FEMTO_PER_PICO),
        Unit::VideoMillis => (&["input_cost_per_video_per_second"], 1),
        Unit::AudioMillis => (&["input_cost_per_audio_per_second"], 1),
        Unit::InputSpeechToken => (&["input_cost_per_audio_token"], FEMTO_PER_PICO),
        Unit::OutputSpeechToken => (&["output_cost_per_audio_token"], FEMTO_PER_PICO),
        Unit::GuardrailTextUnit => (&["guardrail_cost_per_unit"], FEMTO_PER_PICO),
        Unit::GuardrailContentImage => (&["guardrail_cost_per_unit.contentPolicyImageUnits"], FEMTO_PER_PICO),
        Unit::GuardrailContentUnit => {
            (&["guardrail_cost_per_unit.contentPolicyUnits", "guardrail_cost_per_unit"], FEMTO_PER_PICO)
        }
        Unit::GuardrailTopicUnit => {
            (&["guardrail_cost_per_unit.topicPolicyUnits", "guardrail_cost_per_unit"], FEMTO_PER_PICO)
        }
        Unit::GuardrailSensitiveInformationUnit => (
            &["guardrail_cost_per_unit.sensitiveInformationPolicyUnits", "guardrail_cost_per_unit"],
            FEMTO_PER_PICO,
        ),
        Unit::GuardrailGroundingUnit => (
            &["guardrail_cost_per_unit.contextualGroundingPolicyUnits", "guardrail_cost_per_unit"],
            FEMTO_PER_PICO,
        ),
        Unit::GuardrailAutomatedReasoningUnit => (
            &["guardrail_cost_per_unit.automatedReasoningPolicyUnits", "guardrail_cost_per_unit"],
            FEMTO_PER_PICO,
        ),
    }
}

fn femtodollars(picodollars: i64, kind: &Kind) -> Option<i128> {
    i128::from(picodollars).checked_mul(i128::from(kind.count))?.checked_mul(kind.femto_per_pico)
}

fn sum(mut amounts: impl Iterator<Item = Option<i128>>) -> Option<i128> {
    amounts.try_fold(0_i128, |total, amount| total.checked_add(amount?))
}

/// The one rounding: half to even. `one` parts make a femtodollar.
pub(super) fn round_to_nano(amount: i128, one: i128) -> Option<NanoUsd> {
    let per_nano = FEMTO_PER_NANO * one;
    let whole = amount.div_euclid(per_nano);
    let rest = amount.rem_euclid(per_nano);
    let rounds_up = match (rest * 2).cmp(&per_nano) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => whole % 2 != 0,
        std::cmp::Ordering::Greater => true,
    };
    i64::try_from(whole + i128::from(rounds_up)).ok().map(NanoUsd)
}

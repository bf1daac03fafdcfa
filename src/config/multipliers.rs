//! `tier_multipliers`, of a deployment or of all: what service tiers without a price cost, and from which day on.

use time::Date;
use time::macros::format_description;

use super::price::picodollars;
use super::section::{Context, Section};
use super::setting::Setting;
use super::tree::{Node, Scalar};
use crate::domain::UnixMicros;
use crate::pricing::{DearerOrCheaper, TierMultiplier};

/// The highest multiplier: beyond it somebody mistyped.
const MAX_MILLIONTHS: i64 = 100 * 1_000_000;
/// Picodollars of a dollar's millionth.
const PICO_PER_MILLIONTH: i64 = 1_000_000;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// Reads a list of `{tier: priority, multiplier: 1.75, from: 2026-11-01}`.
pub(super) fn read(node: Option<&Node>, ctx: &mut Context) -> Vec<TierMultiplier> {
    let mut multipliers: Vec<TierMultiplier> = Vec::new();
    for element in ctx.elements(node) {
        let mut entry = Section::open(Some(element), element.place.clone(), "tier_multipliers", ctx);
        let faults_before = ctx.faults.len();
        let tier = entry.get("tier", ctx);
        let multiplier = entry.get::<Millionths>("multiplier", ctx);
        let from = entry.get::<Day>("from", ctx);
        entry.refuse_rest(ctx);
        let (Some(tier), Some(Millionths(millionths)), Some(Day { from, text })) = (tier, multiplier, from)
        else {
            if ctx.faults.len() == faults_before {
                let problem = "lacks a part: write {tier: priority, multiplier: 1.75, from: 2026-11-01}";
                ctx.fault(&element.place, problem);
            }
            continue;
        };
        if multipliers.iter().any(|other| other.tier == tier && other.from == from) {
            ctx.fault(&element.place, "is the second for this tier and day; keep one of the two");
        }
        multipliers.push(TierMultiplier { tier, millionths, from, day: text });
    }
    multipliers
}

/// A deployment's own, and for tiers that these say nothing of the general ones.
pub(super) fn over(own: Vec<TierMultiplier>, general: &[TierMultiplier]) -> Vec<TierMultiplier> {
    let is_own = |tier: DearerOrCheaper| own.iter().any(|multiplier| multiplier.tier == tier);
    let rest: Vec<_> = general.iter().filter(|multiplier| !is_own(multiplier.tier)).cloned().collect();
    own.into_iter().chain(rest).collect()
}

impl Setting for DearerOrCheaper {
    const EXPECTED: &'static str = "priority, flex, reserved or latency_optimized";

    fn parse(scalar: &Scalar) -> Option<Self> {
        let name = String::parse(scalar)?;
        Self::ALL.into_iter().find(|tier| tier.as_str() == name)
    }
}

/// A multiplier with up to six decimals.
struct Millionths(u64);

impl Setting for Millionths {
    const EXPECTED: &'static str = "a number from 0 to 100 with at most six decimals, such as 1.75";

    fn parse(scalar: &Scalar) -> Option<Self> {
        let (Scalar::Number(text) | Scalar::Text(text)) = scalar else { return None };
        let pico = picodollars(text).ok().filter(|pico| pico % PICO_PER_MILLIONTH == 0)?;
        let millionths =
            Some(pico / PICO_PER_MILLIONTH).filter(|millionths| *millionths <= MAX_MILLIONTHS)?;
        u64::try_from(millionths).ok().map(Self)
    }
}

/// A day, from its first moment in UTC on.
struct Day {
    from: UnixMicros,
    text: String,
}

impl Setting for Day {
    const EXPECTED: &'static str = "a day such as 2026-11-01";

    fn parse(scalar: &Scalar) -> Option<Self> {
        let text = String::parse(scalar)?;
        let day = Date::parse(&text, format_description!("[year]-[month]-[day]")).ok()?;
        let seconds = day.midnight().assume_utc().unix_timestamp();
        Some(Self { from: UnixMicros(seconds.checked_mul(MICROS_PER_SECOND)?), text })
    }
}

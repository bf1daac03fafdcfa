//! Prices of every family, looked up and charged.

use proptest::prelude::*;

use super::*;
use crate::usage::{ServiceTier, Unit};

#[path = "answers_tests.rs"]
mod answers;
#[path = "families_tests.rs"]
mod families;

fn entry_of(model_id: &str, region: &str, base_model: Option<&str>) -> Option<String> {
    let own = BTreeMap::new();
    let usage = Usage { input_tokens: 1, ..Usage::default() };
    let query = PriceQuery { model_id, region, base_model, own: &own, multipliers: &[], at: UnixMicros(0) };
    PriceBook::builtin().price(&query, &usage).price.map(|price| price.entry.to_string())
}

#[test]
fn every_form_of_an_id_finds_its_entry() {
    let haiku = "anthropic.claude-3-haiku-20240307-v1:0";
    for (model, region, expected) in [
        (haiku, "us-east-1", Some(haiku)),
        ("us.amazon.nova-lite-v1:0", "us-east-1", Some("us.amazon.nova-lite-v1:0")),
        // The region's own price before the general one.
        ("anthropic.claude-opus-5", "us-gov-west-1", Some("bedrock/us-gov-west-1/anthropic.claude-opus-5")),
        ("moonshotai.kimi-k2.5", "sa-east-1", Some("bedrock/sa-east-1/moonshotai.kimi-k2.5")),
        ("moonshotai.kimi-k2.5", "eu-west-3", Some("moonshotai.kimi-k2.5")),
        ("moonshotai.kimi-k2-thinking", "eu-west-3", Some("bedrock/moonshotai.kimi-k2-thinking")),
        // GovCloud and China prices differ: the general entry says nothing about them.
        ("moonshotai.kimi-k2.5", "us-gov-west-1", None),
        (haiku, "cn-north-1", None),
        ("us-gov.anthropic.claude-opus-5", "us-gov-east-1", Some("us-gov.anthropic.claude-opus-5")),
        ("us-gov.amazon.nova-pro-v1:0", "us-gov-west-1", Some("bedrock/us-gov-west-1/amazon.nova-pro-v1:0")),
        // Mantle.
        ("openai.gpt-5.5", "us-east-1", Some("bedrock_mantle/openai.gpt-5.5")),
        ("xai.grok-4.6", "us-gov-west-1", Some("bedrock_mantle/us-gov-west-1/xai.grok-4.6")),
        // Spellings of the version.
        ("anthropic.claude-3-haiku-20240307-v1:0:200k", "us-east-1", Some(haiku)),
        ("anthropic.claude-3-haiku-20240307-v1", "us-east-1", Some(haiku)),
        ("anthropic.claude-opus-5:0", "us-east-1", Some("anthropic.claude-opus-5")),
        ("anthropic.claude-v2", "ap-southeast-2", None),
        // Profiles without an entry.
        ("global.amazon.nova-pro-v1:0", "us-east-1", Some("amazon.nova-pro-v1:0")),
        ("us.qwen.qwen3-32b-v1:0", "us-east-1", Some("qwen.qwen3-32b-v1:0")),
        ("ca.amazon.nova-lite-v1:0", "ca-central-1", None),
        ("ca.anthropic.claude-sonnet-4-6", "ca-central-1", None),
        // Never upward, from a base to a profile.
        ("deepseek.r1-v1:0", "us-east-1", None),
        // ARNs.
        (
            "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
            "us-east-1",
            Some(haiku),
        ),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0",
            "us-east-1",
            Some("us.amazon.nova-lite-v1:0"),
        ),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc", "us-east-1", None),
        ("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc", "us-east-1", None),
        ("arn:aws:bedrock:us-east-1:123456789012:imported-model/abc", "us-east-1", None),
        ("arn:", "us-east-1", None),
        ("", "us-east-1", None),
        ("vendor.model", "us-east-1", None),
        ("us.", "us-east-1", None),
        ("us-east-1/1-month-commitment/anthropic.claude-v1", "us-east-1", None),
    ] {
        assert_eq!(entry_of(model, region, None).as_deref(), expected, "{model} in {region}");
    }
}

#[test]
fn every_model_of_the_list_is_found_by_its_own_id() {
    let book = PriceBook::builtin();
    let models = book.entries.by_name.iter().filter(|(name, entry)| {
        !name.contains('/') && !name.starts_with("us-gov.") && entry.rate("input_cost_per_token").is_some()
    });
    for (name, _) in models {
        let found = entry_of(name, "us-east-1", None);
        let regional = format!("bedrock/us-east-1/{name}");
        assert!(found.as_deref() == Some(&**name) || found == Some(regional), "{name}: {found:?}");
    }
}

#[test]
fn the_base_model_speaks_for_an_opaque_arn() {
    let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc";
    for (base_model, expected) in [
        ("amazon.nova-lite-v1:0", Some("amazon.nova-lite-v1:0")),
        ("bedrock/amazon.nova-lite-v1:0", Some("amazon.nova-lite-v1:0")),
        ("bedrock/converse/us.amazon.nova-lite-v1:0", Some("us.amazon.nova-lite-v1:0")),
        ("vendor.model", None),
    ] {
        assert_eq!(entry_of(arn, "us-east-1", Some(base_model)).as_deref(), expected, "{base_model}");
    }
}

fn price(own: &[(&str, i64)], usage: &Usage) -> Charge {
    let own: BTreeMap<String, i64> = own.iter().map(|(field, rate)| ((*field).to_owned(), *rate)).collect();
    let model_id = "anthropic.claude-sonnet-4-20250514-v1:0";
    let query = PriceQuery {
        model_id,
        region: "us-east-1",
        base_model: None,
        own: &own,
        multipliers: &[],
        at: UnixMicros(0),
    };
    PriceBook::builtin().price(&query, usage)
}

#[test]
fn own_prices_come_first_kind_by_kind() {
    let usage = Usage { input_tokens: 1_000, output_tokens: 100, ..Usage::default() };
    let input = ("input_cost_per_token", 1_000_000);
    let output = ("output_cost_per_token", 2_000_000);
    let charge = price(&[input, output], &usage);
    assert_eq!(charge.cost, Some(NanoUsd(1_200_000)));
    let rates = [input, output].map(|(field, rate)| (field.into(), rate)).to_vec();
    assert_eq!(charge.price, Some(Price { entry: "config".into(), rates }));

    let charge = price(&[input], &usage);
    assert_eq!(charge.cost, Some(NanoUsd(2_500_000)));
    assert_eq!(&*charge.price.unwrap().entry, "config, anthropic.claude-sonnet-4-20250514-v1:0");

    assert_eq!(
        price(&[("input_cost_per_token", 0), ("output_cost_per_token", 0)], &usage).cost,
        Some(NanoUsd::ZERO)
    );
}

#[test]
fn an_own_price_holds_for_long_prompts_too_unless_it_says_otherwise() {
    let long = Usage { input_tokens: 300_000, ..Usage::default() };
    assert_eq!(price(&[], &long).cost, Some(NanoUsd(1_800_000_000)));
    let plain = ("input_cost_per_token", 1_000_000);
    assert_eq!(price(&[plain], &long).cost, Some(NanoUsd(300_000_000)));
    let above = ("input_cost_per_token_above_200k_tokens", 2_000_000);
    assert_eq!(price(&[plain, above], &long).cost, Some(NanoUsd(600_000_000)));
}

#[test]
fn a_tier_is_charged_at_its_own_price_only() {
    let flex = Usage { input_tokens: 1_000, tier: ServiceTier::Flex, ..Usage::default() };
    assert_eq!(price(&[], &flex), Charge::UNPRICED);
    assert_eq!(price(&[("input_cost_per_token", 1_000_000)], &flex), Charge::UNPRICED);
    assert_eq!(price(&[("input_cost_per_token_flex", 500_000)], &flex).cost, Some(NanoUsd(500_000)));
    let fast = Usage { input_tokens: 1_000, latency_optimised: true, ..Usage::default() };
    assert_eq!(price(&[], &fast), Charge::UNPRICED);
    assert_eq!(
        price(&[("input_cost_per_token_latency_optimized", 500_000)], &fast).cost,
        Some(NanoUsd(500_000))
    );
}

fn multiplier(tier: DearerOrCheaper, millionths: u64, day: &str, from: i64) -> TierMultiplier {
    TierMultiplier { tier, millionths, from: UnixMicros(from), day: day.to_owned() }
}

#[test]
fn a_tier_without_a_price_costs_the_multiple_that_held_when_the_call_began() {
    use DearerOrCheaper::{Flex, LatencyOptimized, Priority};
    let multipliers = [
        multiplier(Flex, 500_000, "2026-02-01", 100),
        multiplier(Flex, 333_333, "2026-03-01", 200),
        multiplier(Priority, 1_750_000, "2026-02-01", 100),
        multiplier(LatencyOptimized, 1_250_000, "2026-02-01", 100),
    ];
    let charge = |at: i64, own: &[(&str, i64)], usage: &Usage| {
        let own: BTreeMap<String, i64> = own.iter().map(|(name, rate)| ((*name).to_owned(), *rate)).collect();
        let (model_id, at) = ("amazon.nova-lite-v1:0", UnixMicros(at));
        let query = PriceQuery {
            model_id,
            region: "us-east-1",
            base_model: None,
            own: &own,
            multipliers: &multipliers,
            at,
        };
        PriceBook::builtin().price(&query, usage)
    };
    // 60 and 240 nano-dollars a token.
    let usage = |tier| Usage { input_tokens: 1_001, output_tokens: 1, tier, ..Usage::default() };
    let flex = usage(ServiceTier::Flex);
    assert_eq!(charge(99, &[], &flex), Charge::UNPRICED, "before its first day");
    let charged = charge(100, &[], &flex);
    assert_eq!((charged.cost, charged.basis), (Some(NanoUsd(30_150)), CostBasis::Exact));
    let price = charged.price.unwrap();
    assert_eq!(&*price.entry, "amazon.nova-lite-v1:0 × 0.5 (flex, from 2026-02-01)");
    let rates = [("input_cost_per_token".into(), 60_000), ("output_cost_per_token".into(), 240_000)];
    assert_eq!(price.rates, rates);
    // 60,300 × 0.333333 = 20,099.9799, rounded once.
    assert_eq!(charge(200, &[], &flex).cost, Some(NanoUsd(20_100)));
    assert_eq!(charge(150, &[], &usage(ServiceTier::Priority)).cost, Some(NanoUsd(105_525)));
    assert_eq!(charge(150, &[], &usage(ServiceTier::Reserved)), Charge::UNPRICED, "nothing is said of it");
    // 60,300 × 1.75 × 1.25 = 131,906.25.
    let both = Usage { latency_optimised: true, ..usage(ServiceTier::Priority) };
    let charged = charge(150, &[], &both);
    assert_eq!(charged.cost, Some(NanoUsd(131_906)));
    assert!(
        charged
            .price
            .unwrap()
            .entry
            .ends_with("(priority, from 2026-02-01) × 1.25 (latency_optimized, from 2026-02-01)")
    );
    // A price of its own comes first, kind by kind; a kind without any price stays without.
    let own = [("input_cost_per_token_flex", 1_000)];
    assert_eq!(charge(150, &own, &flex).cost, Some(NanoUsd(1_001 + 120)));
    let cached = Usage { cache_write_1h_tokens: 1, ..flex };
    assert_eq!(charge(150, &[], &cached), Charge::UNPRICED);
    assert_eq!(charge(150, &[], &usage(ServiceTier::Default)).cost, Some(NanoUsd(60_300)));
    let default = charge(150, &[], &usage(ServiceTier::Default));
    assert_eq!(&*default.price.unwrap().entry, "amazon.nova-lite-v1:0");
}

#[test]
fn a_long_prompt_without_a_price_for_its_hour_of_cache_is_unpriced() {
    let usage = Usage { input_tokens: 250_000, cache_write_1h_tokens: 1, ..Usage::default() };
    assert_eq!(price(&[], &usage), Charge::UNPRICED);
}

#[test]
fn units_are_charged_by_their_own_price() {
    for (unit, count, field, picodollars, nano_usd) in [
        (Unit::OutputImage, 2, "output_cost_per_image", 40_000_000_000, 80_000_000),
        (Unit::Query, 3, "input_cost_per_query", 2_000_000_000, 6_000_000),
        (Unit::VideoMillis, 1_500, "input_cost_per_video_per_second", 700_000_000, 1_050_000),
        (Unit::AudioMillis, 1, "input_cost_per_audio_per_second", 140_000_000, 140),
        (Unit::InputSpeechToken, 1_000, "input_cost_per_audio_token", 3_400_000, 3_400_000),
        (Unit::OutputSpeechToken, 1, "output_cost_per_audio_token", 13_600_000, 13_600),
        (Unit::GuardrailTextUnit, 4, "guardrail_cost_per_unit", 150_000_000, 600_000),
    ] {
        let usage = Usage { units: vec![(unit, count)], ..Usage::default() };
        assert_eq!(price(&[], &usage), Charge::UNPRICED, "{unit:?}");
        assert_eq!(price(&[(field, picodollars)], &usage).cost, Some(NanoUsd(nano_usd)), "{unit:?}");
    }
}

#[test]
fn guardrails_have_prices_of_their_own() {
    let usage = Usage { units: vec![(Unit::GuardrailTopicUnit, 4)], ..Usage::default() };
    let charge = price(&[], &usage);
    assert_eq!((charge.cost, &*charge.price.unwrap().entry), (Some(NanoUsd(600_000)), "bedrock/guardrails"));
    assert_eq!(price(&[("guardrail_cost_per_unit", 100_000_000)], &usage).cost, Some(NanoUsd(400_000)));
    let topics = ("guardrail_cost_per_unit.topicPolicyUnits", 50_000_000);
    assert_eq!(
        price(&[("guardrail_cost_per_unit", 100_000_000), topics], &usage).cost,
        Some(NanoUsd(200_000))
    );
}

#[test]
fn absurd_counts_are_unpriced_not_wrapped() {
    let usage = Usage { input_tokens: u64::MAX, output_tokens: u64::MAX, ..Usage::default() };
    assert_eq!(price(&[], &usage), Charge::UNPRICED);
    assert_eq!(
        price(&[("input_cost_per_token", i64::MAX), ("output_cost_per_token", i64::MAX)], &usage),
        Charge::UNPRICED
    );
}

#[test]
fn the_worst_case_takes_the_dearest_price_and_the_longest_answer() {
    let worst = |model_id, input, output| {
        let own = BTreeMap::new();
        let query = PriceQuery {
            model_id,
            region: "us-east-1",
            base_model: None,
            own: &own,
            multipliers: &[],
            at: UnixMicros(0),
        };
        PriceBook::builtin().quote(&query).worst_case(input, output).map(|cost| cost.0)
    };
    let sonnet = "anthropic.claude-sonnet-4-20250514-v1:0";
    assert_eq!(worst("amazon.nova-lite-v1:0", 1_000, Some(100)), Some(84_000));
    // All of it written to the cache.
    assert_eq!(worst(sonnet, 1_000, Some(100)), Some(3_750_000 + 1_500_000));
    assert_eq!(worst(sonnet, 200_001, Some(0)), Some(200_001 * 7_500));
    // Nothing asked for: the longest answer the model gives.
    assert_eq!(worst(sonnet, 0, None), Some(64_000 * 15_000));
    assert_eq!(worst("amazon.titan-embed-text-v2:0", 1_000, None), Some(20_000));
    assert_eq!(worst("us.twelvelabs.pegasus-1-2-v1:0", 1_000, Some(1)), None);
    assert_eq!(worst("vendor.model", 1, Some(1)), None);
    assert_eq!(worst("anthropic.claude-mythos-preview", 1, None), None);
}

#[test]
fn no_text_of_a_length_costs_more_than_its_worst_case() {
    let book = PriceBook::builtin();
    let own = BTreeMap::new();
    let mut compared = 0;
    for model_id in book.entries.by_name.keys().filter(|name| !name.contains('/')) {
        let query = PriceQuery {
            model_id,
            region: "us-east-1",
            base_model: None,
            own: &own,
            multipliers: &[],
            at: UnixMicros(0),
        };
        for tokens in [0, 1, 999, 128_000, 128_001, 200_000, 200_001, 272_001, 1_000_000] {
            let output = Usage { output_tokens: 500, ..Usage::default() };
            let usages = [
                Usage { input_tokens: tokens, ..output.clone() },
                Usage { cache_write_5m_tokens: tokens, ..output.clone() },
                Usage { cache_write_1h_tokens: tokens, ..output.clone() },
                Usage { cache_read_tokens: tokens / 2, input_tokens: tokens - tokens / 2, ..output.clone() },
            ];
            let Some(most) = book.quote(&query).worst_case(tokens, Some(500)) else { continue };
            for usage in usages {
                let Some(cost) = book.price(&query, &usage).cost else { continue };
                assert!(cost <= most, "{model_id}: {usage:?} costs {cost}, more than {most}");
                compared += 1;
            }
        }
    }
    assert!(compared > 5_000, "{compared}");
}

#[test]
fn own_prices_have_a_worst_case_as_those_of_the_list_have() {
    let own =
        |fields: &[(&str, i64)]| fields.iter().map(|(field, rate)| ((*field).to_owned(), *rate)).collect();
    let worst = |own: &BTreeMap<String, i64>, tokens| {
        let model_id = "anthropic.claude-sonnet-4-20250514-v1:0";
        let (region, base_model, multipliers, at) = ("us-east-1", None, &[], UnixMicros(0));
        let query = PriceQuery { model_id, region, base_model, own, multipliers, at };
        PriceBook::builtin().quote(&query).worst_case(tokens, Some(10)).map(|cost| cost.0)
    };
    let input = own(&[("input_cost_per_token", 1_000_000)]);
    // The list's price of cache writes is the dearest; the deployment's own plain price holds at any length.
    assert_eq!(worst(&input, 1_000), Some(3_750_000 + 150_000));
    let long =
        own(&[("input_cost_per_token", 9_000_000), ("input_cost_per_token_above_100k_tokens", 10_000_000)]);
    assert_eq!(worst(&long, 100_000), Some(900_000_000 + 150_000));
    assert_eq!(worst(&long, 100_001), Some(1_000_010_000 + 150_000));
    assert_eq!(worst(&own(&[("output_cost_per_token", 1_000)]), 1_000), Some(3_750_000 + 10));
}

/// The reference: rounds by comparing the remainder in whole numbers, without any of the code under test.
fn half_even(femtodollars: i128) -> i128 {
    let (low, million) = (femtodollars.div_euclid(1_000_000), 1_000_000);
    let (to_low, to_high) = (femtodollars - low * million, (low + 1) * million - femtodollars);
    match to_low.cmp(&to_high) {
        std::cmp::Ordering::Less => low,
        std::cmp::Ordering::Greater => low + 1,
        std::cmp::Ordering::Equal => low + low.rem_euclid(2),
    }
}

proptest! {
    #[test]
    fn the_rounding_is_half_to_even(whole in -1_000_000_i128..1_000_000, rest in prop_oneof![Just(500_000), Just(499_999), Just(500_001), 0_i128..1_000_000]) {
        let amount = whole * 1_000_000 + rest;
        prop_assert_eq!(i128::from(rates::round_to_nano(amount, 1).unwrap().0), half_even(amount));
    }

    #[test]
    fn a_cost_is_the_rounded_sum_of_counts_times_prices(
        counts in prop::array::uniform5(0_u64..2_000_000),
        prices in prop::array::uniform5(0_i64..100_000_000),
    ) {
        let [input, output, read, five_minutes, one_hour] = counts;
        let usage = Usage {
            input_tokens: input,
            output_tokens: output,
            cache_read_tokens: read,
            cache_write_5m_tokens: five_minutes,
            cache_write_1h_tokens: one_hour,
            ..Usage::default()
        };
        let fields = ["input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost", "cache_creation_input_token_cost", "cache_creation_input_token_cost_above_1hr"];
        let own: Vec<_> = fields.into_iter().zip(prices).collect();
        let exact: i128 = counts.into_iter().zip(prices).map(|(count, rate)| i128::from(count) * i128::from(rate) * 1_000).sum();
        prop_assert_eq!(price(&own, &usage).cost.map(|cost| i128::from(cost.0)), Some(half_even(exact)));
    }
}

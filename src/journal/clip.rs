//! Bounds on the texts and lists of an event, so that a record has a largest size that can be promised.

use std::borrow::Cow;

use crate::event::{Begun, Ended};
use crate::pricing::Price;

/// Longest name in bytes: teams, users, tags, sessions, deployments. What is longer is cut.
const MAX_NAME: usize = 256;
/// Longest model id or name in bytes, as Bedrock allows it.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>
const MAX_MODEL: usize = 2048;
/// Most tags of one event.
const MAX_TAGS: usize = 32;
/// Most attempts listed; the last one is always among them.
const MAX_ATTEMPTS: usize = 16;
/// Most kinds of units.
const MAX_UNITS: usize = 16;
/// Most rates of a price.
const MAX_RATES: usize = 32;

/// The beginning as it is written; borrowed unless something must be cut.
pub(super) fn begun(begun: &Begun) -> Cow<'_, Begun> {
    let names = [&begun.team_id, &begun.user_id, &begun.end_user, &begun.session_id, &begun.call_id];
    let models = [&begun.requested_model, &begun.model_id];
    let fits = names.iter().all(|name| optional_fits(name, MAX_NAME))
        && models.iter().all(|model| optional_fits(model, MAX_MODEL))
        && [&begun.operation, &begun.deployment, &begun.region].iter().all(|name| name.len() <= MAX_NAME)
        && begun.tags.len() <= MAX_TAGS
        && begun.tags.iter().all(|tag| tag.len() <= MAX_NAME);
    if fits {
        return Cow::Borrowed(begun);
    }
    let mut begun = begun.clone();
    let Begun { team_id, user_id, end_user, session_id, call_id, .. } = &mut begun;
    for name in [team_id, user_id, end_user, session_id, call_id].into_iter().flatten() {
        cut(name, MAX_NAME);
    }
    for model in [&mut begun.requested_model, &mut begun.model_id].into_iter().flatten() {
        cut(model, MAX_MODEL);
    }
    for name in [&mut begun.operation, &mut begun.deployment, &mut begun.region] {
        cut(name, MAX_NAME);
    }
    begun.tags.truncate(MAX_TAGS);
    begun.tags.iter_mut().for_each(|tag| cut(tag, MAX_NAME));
    Cow::Owned(begun)
}

/// The end as it is written; borrowed unless something must be cut.
pub(super) fn ended(ended: &Ended) -> Cow<'_, Ended> {
    let fits = optional_fits(&ended.model_id, MAX_MODEL)
        && optional_fits(&ended.region, MAX_NAME)
        && optional_fits(&ended.aws_request_id, MAX_NAME)
        && ended.attempts.len() <= MAX_ATTEMPTS
        && ended.attempts.iter().all(|attempt| attempt.deployment.len() <= MAX_NAME)
        && ended.usage.as_ref().is_none_or(|usage| usage.units.len() <= MAX_UNITS)
        && ended.price.as_ref().is_none_or(price_fits);
    if fits {
        return Cow::Borrowed(ended);
    }
    let mut ended = ended.clone();
    ended.model_id.iter_mut().for_each(|model| cut(model, MAX_MODEL));
    [&mut ended.region, &mut ended.aws_request_id].into_iter().flatten().for_each(|name| cut(name, MAX_NAME));
    let surplus = ended.attempts.len().saturating_sub(MAX_ATTEMPTS);
    ended.attempts.drain(..surplus);
    ended.attempts.iter_mut().for_each(|attempt| cut(&mut attempt.deployment, MAX_NAME));
    if let Some(usage) = &mut ended.usage {
        usage.units.truncate(MAX_UNITS);
    }
    if let Some(price) = &mut ended.price {
        if price.entry.len() > MAX_NAME {
            price.entry = start_of(&price.entry, MAX_NAME).into();
        }
        price.rates.truncate(MAX_RATES);
        for (name, _) in &mut price.rates {
            if name.len() > MAX_NAME / 4 {
                *name = start_of(name, MAX_NAME / 4).to_owned().into();
            }
        }
    }
    Cow::Owned(ended)
}

fn price_fits(price: &Price) -> bool {
    price.entry.len() <= MAX_NAME
        && price.rates.len() <= MAX_RATES
        && price.rates.iter().all(|(name, _)| name.len() <= MAX_NAME / 4)
}

fn optional_fits(text: &Option<String>, max: usize) -> bool {
    text.as_ref().is_none_or(|text| text.len() <= max)
}

fn cut(text: &mut String, max: usize) {
    text.truncate(text.floor_char_boundary(max));
}

fn start_of(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::record::{MAX_RECORD_BYTES, encode_begun, encode_ended};
    use super::*;
    use crate::journal::record::samples;

    #[test]
    fn invariant_8_the_largest_event_fits_the_largest_record() {
        let (begun, ended) = samples::largest();
        let mut record = Vec::new();
        encode_begun(&mut record, 0, &begun).unwrap();
        assert!((10_000..=MAX_RECORD_BYTES).contains(&record.len()), "{}", record.len());
        encode_ended(&mut record, 0, &ended).unwrap();
        assert!((8_000..=MAX_RECORD_BYTES).contains(&record.len()), "{}", record.len());
    }

    #[test]
    fn an_event_of_usual_size_is_not_copied() {
        let (begun, ended) = samples::usual(1);
        assert!(matches!(super::begun(&begun), Cow::Borrowed(_)));
        assert!(matches!(super::ended(&ended), Cow::Borrowed(_)));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut text = "é".repeat(200);
        cut(&mut text, 255);
        assert_eq!(text, "é".repeat(127));
    }
}

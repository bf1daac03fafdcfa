//! From a model id to an entry of the price list.
//!
//! The `base_model` of the deployment is looked up if there is one, else the model id. An ARN of a foundation
//! model or of a system-defined inference profile stands for the id at its end; other ARNs (application
//! profiles, provisioned, imported and custom models) say nothing about the model and are unknown without
//! `base_model`.
//!
//! For an id, the first entry there is of
//! 1. `bedrock/<region>/<id>` — the region's own price comes before the general one,
//! 2. `<id>`, 3. `bedrock/<id>`,
//! 4. `bedrock_mantle/<region>/<id>`, 5. `bedrock_mantle/<id>`,
//!
//! for the id as it is, then without a context suffix (`:200k`), then with `:0` added or taken away.
//! In the AWS GovCloud and China partitions, whose prices differ throughout, only entries that name the
//! partition count.
//!
//! A cross-region profile (`us.`, `eu.`, `global.`, …) without an entry of its own takes the base model's,
//! unless the list prices another geographic profile of that model differently from the base: then the
//! profile is unpriced. A base model never takes the price of a profile.

use std::sync::Arc;

use super::PriceQuery;
use super::price_list::{Entries, Entry};
use crate::usage::ImageShape;

/// An entry with its name.
pub(super) type Named<'a> = (&'a Arc<str>, &'a Entry);

/// Prefixes of cross-region inference profiles.
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html>
const PROFILE_PREFIXES: [&str; 12] =
    ["global.", "us.", "eu.", "apac.", "jp.", "au.", "ca.", "us-gov.", "sa.", "me.", "af.", "il."];

/// The entry for what is asked, if there is one.
pub(super) fn find<'a>(
    entries: &'a Entries,
    query: &PriceQuery<'_>,
    image: Option<ImageShape>,
) -> Option<Named<'a>> {
    let id = match query.base_model {
        Some(base_model) => written_as_litellm(base_model),
        None => id_of(query.model_id)?,
    };
    let book = Book { entries, region: query.region };
    book.sized_image(id, image).or_else(|| book.entry(id)).or_else(|| book.base_entry(id))
}

/// The entry of guardrails, which have prices of their own whatever model they stand before.
pub(super) fn find_guardrails<'a>(entries: &'a Entries, region: &str) -> Option<Named<'a>> {
    Book { entries, region }.entry("guardrails")
}

/// The model id that an id or ARN names; `None` for an ARN that does not tell.
#[must_use]
pub fn id_of(model_id: &str) -> Option<&str> {
    let Some(arn) = model_id.strip_prefix("arn:") else {
        return (!model_id.is_empty()).then_some(model_id);
    };
    let resource = arn.splitn(5, ':').nth(4)?;
    resource.strip_prefix("foundation-model/").or_else(|| resource.strip_prefix("inference-profile/"))
}

/// A `base_model` may be written in the forms of `model`: `bedrock/<id>`, `bedrock/converse/<id>`.
fn written_as_litellm(base_model: &str) -> &str {
    let id = base_model.strip_prefix("bedrock/").unwrap_or(base_model);
    let id = id.strip_prefix("converse/").or_else(|| id.strip_prefix("invoke/")).unwrap_or(id);
    id_of(id).unwrap_or(id)
}

struct Book<'a, 'q> {
    entries: &'a Entries,
    region: &'q str,
}

impl<'a> Book<'a, '_> {
    fn entry(&self, id: &str) -> Option<Named<'a>> {
        self.entry_as_spelled(id)
            .or_else(|| other_spellings(id).into_iter().find_map(|id| self.entry_as_spelled(&id)))
    }

    fn entry_as_spelled(&self, id: &str) -> Option<Named<'a>> {
        let region = self.region;
        let of_region = || self.named(self.entries.name_in_region(region, id)?);
        let of_mantle_region = || self.named_by(&["bedrock_mantle/", region, "/", id]);
        if self.partition_prices_apart() {
            let names_partition = region.starts_with("us-gov-") && id.starts_with("us-gov.");
            let general = || if names_partition { self.named(id) } else { None };
            return of_region().or_else(general).or_else(of_mantle_region);
        }
        of_region()
            .or_else(|| self.named(id))
            .or_else(|| self.named_by(&["bedrock/", id]))
            .or_else(of_mantle_region)
            .or_else(|| self.named_by(&["bedrock_mantle/", id]))
    }

    /// The base model's entry for a profile that has none.
    fn base_entry(&self, id: &str) -> Option<Named<'a>> {
        let (prefix, base) = split_profile(id)?;
        let found = self.entry(base)?;
        let is_priced_apart = |profile: &str| {
            let sibling = self.entries.by_name.get(format!("{profile}{base}").as_str());
            sibling.is_some_and(|sibling| differs(sibling, found.1))
        };
        let geographic =
            || PROFILE_PREFIXES.iter().filter(|prefix| !matches!(**prefix, "global." | "us-gov."));
        // In GovCloud only the region's own entry was found; `global.` costs what the base costs.
        let may_differ =
            !matches!(prefix, "global." | "us-gov.") && geographic().any(|profile| is_priced_apart(profile));
        (!may_differ).then_some(found)
    }

    /// The entry for an image of that size, where images of a model are priced by size and steps.
    fn sized_image(&self, id: &str, image: Option<ImageShape>) -> Option<Named<'a>> {
        const USUAL_STEPS: u32 = 50;
        let shape = image?;
        let side = shape.width.into_iter().chain(shape.height).max()?;
        let sizes: &[&str] = match side {
            0..=512 => &["512-x-512", "1024-x-1024", "max-x-max"],
            513..=1024 => &["1024-x-1024", "max-x-max"],
            _ => &["max-x-max"],
        };
        let steps = if shape.steps.unwrap_or(USUAL_STEPS) > USUAL_STEPS { "max" } else { "50" };
        let base = split_profile(id).map_or(id, |(_, base)| base);
        sizes.iter().find_map(|size| {
            let named = |api: &str| self.named(&format!("{size}/{steps}-steps/{api}{base}"));
            named("").or_else(|| named("bedrock/"))
        })
    }

    /// The entry whose name is made of these parts.
    fn named_by(&self, parts: &[&str]) -> Option<Named<'a>> {
        self.named(&parts.concat())
    }

    fn named(&self, name: &str) -> Option<Named<'a>> {
        self.entries.by_name.get_key_value(name)
    }

    fn partition_prices_apart(&self) -> bool {
        self.region.starts_with("us-gov-") || self.region.starts_with("cn-")
    }
}

/// A profile's prefix and the model it is of.
fn split_profile(id: &str) -> Option<(&'static str, &str)> {
    PROFILE_PREFIXES.iter().find_map(|prefix| Some((*prefix, id.strip_prefix(prefix)?)))
}

/// The other ways an id may be written in the list.
fn other_spellings(id: &str) -> Vec<String> {
    let mut spellings = Vec::with_capacity(2);
    let without_context = match id.rsplit_once(':') {
        Some((rest, context)) if context.ends_with('k') && rest.contains(':') => rest,
        _ => id,
    };
    if without_context != id {
        spellings.push(without_context.to_owned());
    }
    match without_context.strip_suffix(":0") {
        Some(without_version) => spellings.push(without_version.to_owned()),
        None => spellings.push(format!("{without_context}:0")),
    }
    spellings
}

/// Whether two entries price something that both price, differently.
fn differs(one: &Entry, other: &Entry) -> bool {
    one.rates.iter().any(|(field, rate)| other.rate(field).is_some_and(|theirs| theirs != *rate))
}

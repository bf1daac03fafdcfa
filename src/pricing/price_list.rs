//! The list prices as data: read once from the table in this folder, every price exact to the picodollar.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::domain::FastMap;

/// The table, and in its first lines where it comes from and when.
const LIST_PRICES: &str = include_str!("list-prices.tsv");

/// Decimals of a dollar that a price may have: a picodollar is 10⁻¹² USD.
const PRICE_DECIMALS: usize = 12;

/// One entry of the price book.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Price fields in LiteLLM's names, and picodollars a unit.
    pub rates: Vec<(String, i64)>,
    /// Lengths of prompt, in thousands of tokens, above which some field names another price.
    pub thresholds: Vec<u64>,
    /// The longest answer the model gives, in tokens.
    pub max_output_tokens: Option<u64>,
    /// The dearest prices of the list, once they were asked for.
    pub(super) dearest: OnceLock<Vec<Dearest>>,
}

/// The dearest prices of tokens in the default tier, picodollars each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dearest {
    /// For prompts of more tokens than this; `None`: for any.
    pub(super) longer_than: Option<u64>,
    /// Of input, be it written to a cache.
    pub(super) input: Option<i64>,
    /// Of output.
    pub(super) output: Option<i64>,
}

/// Every entry.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// By its name.
    pub(super) by_name: FastMap<Arc<str>, Entry>,
    /// The names of the form `bedrock/<region>/<id>`, by region and id: most ids have no price of their own in a region,
    /// and no name is put together to find that out.
    of_region: FastMap<String, FastMap<String, Arc<str>>>,
}

impl Entries {
    /// The name of a region's own entry for a model id.
    pub(super) fn name_in_region(&self, region: &str, id: &str) -> Option<&str> {
        self.of_region.get(region)?.get(id).map(|name| &**name)
    }
}

impl FromIterator<(Arc<str>, Entry)> for Entries {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Entry)>>(entries: I) -> Self {
        let mut all = Self::default();
        for (name, entry) in entries {
            if let Some((region, id)) = name.strip_prefix("bedrock/").and_then(|rest| rest.split_once('/')) {
                let ids = all.of_region.entry(region.to_owned()).or_default();
                ids.insert(id.to_owned(), Arc::clone(&name));
            }
            all.by_name.insert(name, entry);
        }
        all
    }
}

/// The field that marks an entry as free, with a price of zero.
const FREE: &str = "free";

impl Entry {
    /// Whether the list says that it costs nothing.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.rate(FREE) == Some(0)
    }

    /// The price of a field.
    #[must_use]
    pub fn rate(&self, field: &str) -> Option<i64> {
        self.rates.iter().find(|(name, _)| name == field).map(|(_, rate)| *rate)
    }
}

/// Why a table of prices cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line} of the price table cannot be read: {fault}")]
pub struct BadPriceTable {
    line: usize,
    fault: &'static str,
}

/// The table built in.
pub(super) fn builtin() -> Result<Entries, BadPriceTable> {
    parse(LIST_PRICES)
}

/// Reads a table: `#` comments, a line of column names, then entry, API, mode, most input tokens, most
/// output tokens, and a JSON object of prices in dollars as decimal strings.
pub(super) fn parse(table: &str) -> Result<Entries, BadPriceTable> {
    let is_data = |line: &(usize, &str)| !line.1.is_empty() && !line.1.starts_with('#');
    let rows = table.lines().enumerate().filter(is_data).skip(1);
    rows.map(|(at, row)| parse_row(row).map_err(|fault| BadPriceTable { line: at + 1, fault })).collect()
}

fn parse_row(row: &str) -> Result<(Arc<str>, Entry), &'static str> {
    let columns: Vec<&str> = row.split('\t').collect();
    let [name, _api, _mode, _max_input, max_output, prices] = columns.as_slice() else {
        return Err("it has not six columns");
    };
    let max_output_tokens = match *max_output {
        "" => None,
        number => Some(number.parse().map_err(|_| "the most output tokens are no number")?),
    };
    let prices: HashMap<String, String> =
        serde_json::from_str(prices).map_err(|_| "the prices are no JSON object of strings")?;
    let mut rates = prices
        .into_iter()
        .map(|(field, usd)| Some((field, picodollars(&usd)?)))
        .collect::<Option<Vec<_>>>()
        .ok_or("a price has more than twelve decimals, or is no number")?;
    rates.sort_unstable();
    let mut thresholds: Vec<u64> = rates.iter().filter_map(|(field, _)| threshold_in(field)).collect();
    thresholds.sort_unstable();
    thresholds.dedup();
    Ok(((*name).into(), Entry { rates, thresholds, max_output_tokens, dearest: OnceLock::new() }))
}

/// The threshold that a field names: 200 for `…_above_200k_tokens`.
pub(super) fn threshold_in(field: &str) -> Option<u64> {
    let from = field.find("_above_").map(|at| field.split_at(at).1)?;
    let number = |rest: &str| rest.strip_prefix("_above_")?.split_once("k_tokens")?.0.parse().ok();
    // `…_above_1hr_above_200k_tokens` names two things; the second is the threshold.
    number(from).or_else(|| number(from.strip_prefix("_above_1hr")?))
}

/// A decimal number of dollars, such as `0.000000546875`, in picodollars, exactly; `None` if it is not one
/// or has more than twelve decimals.
#[must_use]
pub fn picodollars(usd: &str) -> Option<i64> {
    let (whole, decimals) = usd.split_once('.').unwrap_or((usd, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(decimals) || decimals.len() > PRICE_DECIMALS {
        return None;
    }
    format!("{whole}{decimals:0<PRICE_DECIMALS$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_price_can_be_read() {
        let entries = builtin().unwrap().by_name;
        assert_eq!(entries.len(), 500);
        let nova = &entries["amazon.nova-2-pro-preview-20251202-v1:0"];
        assert_eq!(nova.rate("cache_read_input_token_cost"), Some(546_875));
        assert_eq!(nova.max_output_tokens, Some(64_000));
        let mythos = &entries["anthropic.claude-mythos-preview"];
        assert!(mythos.rates.is_empty() && !mythos.is_free());
        let table = "entry\tapi\tmode\ta\tb\tc\nx\ty\tz\t1\t2\t{\"free\":\"0\"}";
        assert!(parse(table).unwrap().by_name["x"].is_free());
    }

    #[test]
    fn an_entry_of_a_region_is_found_by_region_and_id() {
        let entries = builtin().unwrap();
        let of_regions = entries.by_name.keys().filter(|name| name.matches('/').count() == 2);
        let mut found = 0;
        for name in of_regions {
            let (region, id) =
                name.strip_prefix("bedrock/").unwrap_or_default().split_once('/').unwrap_or_default();
            if region.contains('-') {
                assert_eq!(entries.name_in_region(region, id), Some(&**name));
                found += 1;
            }
        }
        assert!(found > 10, "{found}");
        assert_eq!(entries.name_in_region("us-west-2", "nobody.knows"), None);
        assert_eq!(entries.name_in_region("nowhere", "nobody.knows"), None);
    }

    #[test]
    fn prices_are_exact() {
        for (usd, expected) in [
            ("0.000000000001", Some(1)),
            ("0.000003", Some(3_000_000)),
            ("0.4", Some(400_000_000_000)),
            ("75", Some(75_000_000_000_000)),
            ("0.0000000000001", None),
            ("", None),
            (".5", None),
            ("1e-6", None),
            ("-1", None),
            ("99999999999", None),
        ] {
            assert_eq!(picodollars(usd), expected, "{usd}");
        }
    }

    #[test]
    fn a_broken_table_names_the_line() {
        let table = "# comment\nentry\tapi\tmode\ta\tb\tc\nx\ty\tz\t1\t2\t{\"a\":\"0.1\"}\nbroken";
        assert_eq!(
            parse(table).unwrap_err().to_string(),
            "line 4 of the price table cannot be read: it has not six columns"
        );
    }
}

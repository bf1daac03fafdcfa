//! `bedgate reprice`: charges events whose price was missing, by the price book and the configuration as they are now.

use std::collections::BTreeMap;
use std::process::ExitCode;

use crate::config::{Config, DeploymentConfig};
use crate::domain::{NanoUsd, UnixMicros};
use crate::pricing::{PriceBook, PriceQuery, TierMultiplier};
use crate::store::spend::SpendRow;
use crate::store::{DatabasePlace, Store};

/// Events read at a time.
const PAGE: u32 = 500;

/// What to do where there is nothing to reprice.
const NAME_IT: &str = "name the gateway's own by what it is started with (--config or BEDGATE_CONFIG, --data-dir or \
    BEDGATE_DATA_DIR, DATABASE_URL); one that is new gets its tables when the gateway starts, or by bedgate migrate";

/// Charges what can be charged, and says what cannot.
pub(super) async fn run(config: Config, only_show: bool) -> anyhow::Result<ExitCode> {
    let place = DatabasePlace::of(&config.database, &config.server.data_dir)?;
    if place.is_missing() {
        anyhow::bail!("this database does not exist ({place}): {NAME_IT}");
    }
    let store = Store::open(&config.database, &config.server.data_dir).await?;
    if !store.has_tables().await? {
        anyhow::bail!("this database holds no tables of bedgate ({place}): {NAME_IT}");
    }
    let (mut charged, mut sum, mut still_unpriced) = (0u64, NanoUsd::ZERO, BTreeMap::<String, u64>::new());
    let mut after = None;
    loop {
        let rows = store.unpriced(after, PAGE).await?;
        let Some(last) = rows.last() else { break };
        after = Some(last.id);
        for row in rows {
            let deployment = entry_of(&row, &config.deployments);
            let Some((cost, price)) = price_of(&row, deployment, &config.tier_multipliers) else {
                *still_unpriced.entry(row.model_id.clone().unwrap_or_default()).or_default() += 1;
                continue;
            };
            if only_show || store.reprice(row, cost, price).await? {
                charged += 1;
                sum = sum.saturating_add(cost);
            }
        }
    }
    let verb = if only_show { "would be charged" } else { "charged" };
    println!("{charged} events {verb}: {sum} USD");
    for (model, count) in still_unpriced {
        println!("still without a price: {count} events of {model:?}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The entry of the configuration that served the event; where it is gone or there was none, one that has the same model,
/// in the same region if there is one.
fn entry_of<'c>(row: &SpendRow, entries: &'c [DeploymentConfig]) -> Option<&'c DeploymentConfig> {
    let served = entries.iter().find(|entry| entry.id == row.deployment);
    let same_model = || entries.iter().filter(|entry| Some(&entry.model_id) == row.model_id.as_ref());
    let in_region =
        |entry: &&DeploymentConfig| entry.region.as_ref().is_some_and(|region| region.as_str() == row.region);
    served.or_else(|| same_model().find(in_region)).or_else(|| same_model().next())
}

fn price_of(
    row: &SpendRow,
    deployment: Option<&DeploymentConfig>,
    general: &[TierMultiplier],
) -> Option<(NanoUsd, Option<crate::pricing::Price>)> {
    let none = BTreeMap::new();
    let query = PriceQuery {
        model_id: row.model_id.as_deref()?,
        region: &row.region,
        base_model: deployment.and_then(|deployment| deployment.base_model.as_deref()),
        own: deployment.map_or(&none, |deployment| &deployment.prices),
        multipliers: deployment.map_or(general, |deployment| &deployment.tier_multipliers),
        at: UnixMicros(row.started_at),
    };
    let charge = PriceBook::builtin().price(&query, &row.usage()?);
    Some((charge.cost?, charge.price))
}

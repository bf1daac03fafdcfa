//! Events whose price was missing: listed, and charged later, sums included.

use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};

use super::rollup::rollup_keys_of;
use super::row::SpendRow;
use crate::domain::NanoUsd;
use crate::event::CostBasis;
use crate::pricing::Price;
use crate::store::columns::{StoredEventId, to_json};
use crate::store::error::StoreError;
use crate::store::schema::{spend_events, spend_rollups};
use crate::store::{Store, on_reader, on_writer};

impl Store {
    /// Events that used something nobody knew the price of, in the order of their ids, after one of them; at most so many.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn unpriced(
        &self,
        after: Option<StoredEventId>,
        size: u32,
    ) -> Result<Vec<SpendRow>, StoreError> {
        on_reader!(self, |conn| {
            let mut query = spend_events::table.into_boxed();
            query = query.filter(spend_events::cost_basis.eq(CostBasis::Unpriced.as_str()));
            if let Some(after) = after {
                query = query.filter(spend_events::id.gt(after));
            }
            let limit = i64::from(size);
            let query = query.order(spend_events::id).limit(limit).select(SpendRow::as_select());
            Ok(query.load::<SpendRow>(conn).await?)
        })
    }

    /// Charges an event that had no price. `false` if somebody else has done so: nothing is counted twice.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn reprice(
        &self,
        row: SpendRow,
        cost: NanoUsd,
        price: Option<Price>,
    ) -> Result<bool, StoreError> {
        on_writer!(self, |conn| {
            conn.transaction(async |conn| {
                let unpriced = spend_events::table
                    .find(row.id)
                    .filter(spend_events::cost_basis.eq(CostBasis::Unpriced.as_str()));
                let changed = diesel::update(unpriced)
                    .set((
                        spend_events::cost_basis.eq(CostBasis::Exact.as_str()),
                        spend_events::price.eq(price.as_ref().map(to_json)),
                        spend_events::cost_nano.eq(Some(cost.0)),
                    ))
                    .execute(conn)
                    .await?;
                if changed == 0 {
                    return Ok(false);
                }
                for (scope, name, day) in rollup_keys_of(&row) {
                    let sum = spend_rollups::table.find((scope, name, day));
                    diesel::update(sum)
                        .set((
                            spend_rollups::cost_nano.eq(spend_rollups::cost_nano + cost.0),
                            spend_rollups::uncosted_requests.eq(spend_rollups::uncosted_requests - 1),
                            spend_rollups::uncosted_nano
                                .eq(spend_rollups::uncosted_nano - row.uncosted_estimate()),
                        ))
                        .execute(conn)
                        .await?;
                }
                Ok::<bool, StoreError>(true)
            })
            .await
        })
    }
}

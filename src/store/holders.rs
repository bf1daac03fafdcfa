//! Teams, customers and named budgets as they are kept: those who hold limits that several keys share.

mod follow;
mod row;

use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};
use serde::Serialize;

pub use self::follow::follow_holders;
use self::row::HolderRow;
use super::audit::{AuditRow, Change};
use super::error::{StoreError, TakenName};
use super::limit_set::{LimitPatch, LimitSet, SpendReset};
use super::schema::{audit_log, keys, limit_holders, revisions};
use super::{Store, on_reader, on_writer};
use crate::domain::{NanoUsd, UnixMicros};

/// The counter's name in `revisions`.
const COUNTER: &str = "limit_holders";
/// Holders on a page of a list.
const PAGE_SIZE: usize = 1_000;

/// Who holds limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HolderKind {
    /// Keys that share limits and a list of models.
    Team,
    /// Somebody on whose behalf calls are made.
    Customer,
    /// Limits with a name, for keys and customers to refer to.
    Budget,
}

impl HolderKind {
    /// The name stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Team => "team",
            Self::Customer => "customer",
            Self::Budget => "budget",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Team, Self::Customer, Self::Budget].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A team, a customer or a budget.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HolderRecord {
    /// What it is.
    pub kind: HolderKind,
    /// Its id, unique among its kind.
    pub id: String,
    /// A name for people.
    pub alias: Option<String>,
    /// Refused while set.
    pub blocked: bool,
    /// Model names and patterns its keys may use; empty: all.
    pub models: Vec<String>,
    /// Its limits.
    pub limits: LimitSet,
    /// The budget that holds where its own limits are silent.
    pub budget_id: Option<String>,
    /// Free JSON object of its maker.
    pub metadata: serde_json::Value,
    /// When it was made.
    pub created_at: UnixMicros,
    /// Who made it.
    pub created_by: Option<String>,
    /// When it was last changed.
    pub updated_at: UnixMicros,
    /// The store's change counter when it was last written.
    pub revision: i64,
    /// It is no more: told to other instances.
    #[serde(skip)]
    pub deleted: bool,
}

impl HolderRecord {
    /// A new one without any limit.
    #[must_use]
    pub fn new(kind: HolderKind, id: String, change: &Change) -> Self {
        Self {
            kind,
            id,
            alias: None,
            blocked: false,
            models: Vec::new(),
            limits: LimitSet::default(),
            budget_id: None,
            metadata: serde_json::json!({}),
            created_at: change.at,
            created_by: Some(change.actor.clone()),
            updated_at: change.at,
            revision: 0,
            deleted: false,
        }
    }
}

/// What to change of a holder; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HolderPatch {
    /// Another name, or none.
    pub alias: Option<Option<String>>,
    /// Blocked or not.
    pub blocked: Option<bool>,
    /// Other models.
    pub models: Option<Vec<String>>,
    /// Other limits.
    pub limits: LimitPatch,
    /// Another budget, or none.
    pub budget_id: Option<Option<String>>,
    /// Another JSON object.
    pub metadata: Option<serde_json::Value>,
}

impl HolderPatch {
    /// Changes what is named.
    pub fn apply(self, record: &mut HolderRecord, now: UnixMicros) {
        if let Some(alias) = self.alias {
            record.alias = alias;
        }
        if let Some(blocked) = self.blocked {
            record.blocked = blocked;
        }
        if let Some(models) = self.models {
            record.models = models;
        }
        if let Some(budget_id) = self.budget_id {
            record.budget_id = budget_id;
        }
        if let Some(metadata) = self.metadata {
            record.metadata = metadata;
        }
        self.limits.apply(&mut record.limits, now);
    }
}

/// Raises the counter; its row stays locked until the transaction ends, so changes become visible in their order.
macro_rules! next_revision {
    ($conn:expr) => {{
        diesel::update(revisions::table.filter(revisions::name.eq(COUNTER)))
            .set(revisions::value.eq(revisions::value + 1))
            .execute($conn)
            .await?;
        let counter = revisions::table.filter(revisions::name.eq(COUNTER));
        counter.select(revisions::value).first::<i64>($conn).await?
    }};
}

impl Store {
    /// Keeps a new holder. Its `revision` is set by the store. One that has the name of a deleted one has spent nothing,
    /// unless its limits say otherwise.
    ///
    /// # Errors
    ///
    /// [`StoreError::Taken`] when there is one of that kind and id.
    pub async fn create_holder(
        &self,
        mut record: HolderRecord,
        change: Change,
    ) -> Result<HolderRecord, StoreError> {
        on_writer!(self, |conn| {
            conn.transaction(async |conn| {
                record.revision = next_revision!(conn);
                let (kind, id) = (record.kind.as_str(), record.id.clone());
                let same = limit_holders::table.find((kind, id.clone()));
                let found: Option<bool> = same.select(limit_holders::deleted).first(conn).await.optional()?;
                if found == Some(false) {
                    return Err(StoreError::Taken(TakenName::Holder(record.kind, id)));
                }
                if found.is_some() && record.kind != HolderKind::Budget {
                    // What the deleted one of that name has spent is not this one's.
                    let nothing = SpendReset { at: change.at, to: NanoUsd::ZERO };
                    record.limits.reset = record.limits.reset.or(Some(nothing));
                }
                // One of that name that was deleted makes room.
                let same = limit_holders::table.find((kind, id.clone()));
                diesel::delete(same).execute(conn).await?;
                let row = HolderRow::new(&record, &change);
                diesel::insert_into(limit_holders::table).values(&row).execute(conn).await?;
                let action = action(record.kind, "create");
                let entry = AuditRow::new(&change, action, id, None::<&HolderRecord>, Some(&record));
                diesel::insert_into(audit_log::table).values(entry).execute(conn).await?;
                Ok(record)
            })
            .await
        })
    }

    /// Changes a holder; `None` when there is none.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn update_holder(
        &self,
        kind: HolderKind,
        id: String,
        patch: HolderPatch,
        change: Change,
    ) -> Result<Option<HolderRecord>, StoreError> {
        self.change_holder(kind, id, "update", change, |record, now| patch.apply(record, now)).await
    }

    /// Deletes a holder; whether there was one.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn delete_holder(
        &self,
        kind: HolderKind,
        id: String,
        change: Change,
    ) -> Result<Option<HolderRecord>, StoreError> {
        self.change_holder(kind, id, "delete", change, |record, _| record.deleted = true).await
    }

    async fn change_holder(
        &self,
        kind: HolderKind,
        id: String,
        verb: &'static str,
        change: Change,
        alter: impl FnOnce(&mut HolderRecord, UnixMicros) + Send + 'static,
    ) -> Result<Option<HolderRecord>, StoreError> {
        on_writer!(self, |conn| {
            conn.transaction(async |conn| {
                let revision = next_revision!(conn);
                let found = limit_holders::table
                    .find((kind.as_str(), id.clone()))
                    .filter(limit_holders::deleted.eq(false))
                    .select(HolderRow::as_select());
                let Some(row) = found.first::<HolderRow>(conn).await.optional()? else { return Ok(None) };
                let before = row.into_record()?;
                let mut after = before.clone();
                alter(&mut after, change.at);
                after.updated_at = change.at;
                after.revision = revision;
                let row = HolderRow::new(&after, &change);
                let same = limit_holders::table.find((kind.as_str(), id.clone()));
                diesel::update(same).set(&row).execute(conn).await?;
                let left = (!after.deleted).then_some(&after);
                let entry = AuditRow::new(&change, action(kind, verb), id, Some(&before), left);
                diesel::insert_into(audit_log::table).values(entry).execute(conn).await?;
                Ok(Some(after))
            })
            .await
        })
    }

    /// The holders of a kind that have these ids, in no order, as the database has them now.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn find_holders(
        &self,
        kind: HolderKind,
        ids: Vec<String>,
    ) -> Result<Vec<HolderRecord>, StoreError> {
        on_reader!(self, |conn| {
            // Postgres takes no zero byte in a text, and no id has one.
            let ids: Vec<String> = ids.into_iter().filter(|id| !id.contains('\0')).collect();
            let mut found = Vec::with_capacity(ids.len());
            for ids in ids.chunks(PAGE_SIZE) {
                let rows = limit_holders::table
                    .filter(limit_holders::kind.eq(kind.as_str()))
                    .filter(limit_holders::id.eq_any(ids))
                    .filter(limit_holders::deleted.eq(false))
                    .select(HolderRow::as_select())
                    .load::<HolderRow>(conn)
                    .await?;
                found.extend(rows);
            }
            found.into_iter().map(HolderRow::into_record).collect()
        })
    }

    /// A page of the holders of a kind in the order of their ids, after one of them, and where the next one begins.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn holders_after(
        &self,
        kind: HolderKind,
        after: Option<String>,
    ) -> Result<(Vec<HolderRecord>, Option<String>), StoreError> {
        on_reader!(self, |conn| {
            let rows = limit_holders::table
                .filter(limit_holders::kind.eq(kind.as_str()))
                .filter(limit_holders::deleted.eq(false))
                // No id is empty.
                .filter(limit_holders::id.gt(after.unwrap_or_default()))
                .order(limit_holders::id.asc())
                .limit(i64::try_from(PAGE_SIZE + 1).unwrap_or(i64::MAX))
                .select(HolderRow::as_select())
                .load::<HolderRow>(conn)
                .await?;
            let has_more = rows.len() > PAGE_SIZE;
            let page = rows.into_iter().take(PAGE_SIZE).map(HolderRow::into_record);
            let page = page.collect::<Result<Vec<HolderRecord>, StoreError>>()?;
            let next = page.last().filter(|_| has_more).map(|last| last.id.clone());
            Ok((page, next))
        })
    }

    /// Whether a key or a customer refers to a budget.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn budget_is_used(&self, id: String) -> Result<bool, StoreError> {
        on_reader!(self, |conn| {
            let of_keys = keys::table.filter(keys::budget_id.eq(&id));
            let of_holders = limit_holders::table
                .filter(limit_holders::budget_id.eq(&id))
                .filter(limit_holders::deleted.eq(false));
            let by_keys: bool = diesel::select(diesel::dsl::exists(of_keys)).get_result(conn).await?;
            let by_holders: bool = diesel::select(diesel::dsl::exists(of_holders)).get_result(conn).await?;
            Ok(by_keys || by_holders)
        })
    }

    /// What was made, changed or deleted after this revision (0: everything), and where to ask from next time.
    ///
    /// # Errors
    ///
    /// Those of the database.
    pub async fn holder_changes_since(&self, revision: i64) -> Result<(Vec<HolderRecord>, i64), StoreError> {
        on_reader!(self, |conn| {
            let counter = revisions::table.find(COUNTER).select(revisions::value);
            let newest = counter.first::<i64>(conn).await?;
            if newest <= revision {
                return Ok((Vec::new(), newest));
            }
            let rows = limit_holders::table
                .filter(limit_holders::revision.gt(revision))
                .order(limit_holders::revision.asc())
                .select(HolderRow::as_select())
                .load::<HolderRow>(conn)
                .await?;
            let readable = |row: HolderRow| {
                row.into_record().map_err(|error| log::error!("a limit is left out: {error}")).ok()
            };
            Ok((rows.into_iter().filter_map(readable).collect(), newest))
        })
    }
}

/// The audit log's name of a change.
fn action(kind: HolderKind, verb: &str) -> &'static str {
    match (kind, verb) {
        (HolderKind::Team, "create") => "team.create",
        (HolderKind::Team, "delete") => "team.delete",
        (HolderKind::Team, _) => "team.update",
        (HolderKind::Customer, "create") => "customer.create",
        (HolderKind::Customer, "delete") => "customer.delete",
        (HolderKind::Customer, _) => "customer.update",
        (HolderKind::Budget, "create") => "budget.create",
        (HolderKind::Budget, "delete") => "budget.delete",
        (HolderKind::Budget, _) => "budget.update",
    }
}

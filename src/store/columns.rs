//! Column types that neither diesel nor both databases have in common: event ids, and JSON kept as text.

use std::borrow::Cow;
use std::io::Write as _;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::query_builder::QueryId;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{Binary, SqlType};
use diesel::sqlite::Sqlite;
use uuid::Uuid;

use crate::domain::{EventId, NanoUsd};

/// `uuid` on Postgres, a 16-byte `BLOB` on SQLite.
#[derive(Clone, Copy, Debug, Default, SqlType, QueryId)]
#[diesel(postgres_type(oid = 2950, array_oid = 2951), sqlite_type(name = "Binary"))]
pub struct EventIdSql;

/// An event id on its way into or out of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, AsExpression, FromSqlRow)]
#[diesel(sql_type = EventIdSql)]
pub struct StoredEventId(pub EventId);

impl ToSql<EventIdSql, Pg> for StoredEventId {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(self.0.0.as_bytes())?;
        Ok(IsNull::No)
    }
}

impl ToSql<EventIdSql, Sqlite> for StoredEventId {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.0.as_bytes().to_vec());
        Ok(IsNull::No)
    }
}

impl FromSql<EventIdSql, Pg> for StoredEventId {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(EventId(Uuid::from_slice(value.as_bytes())?)))
    }
}

impl FromSql<EventIdSql, Sqlite> for StoredEventId {
    fn from_sql(value: <Sqlite as diesel::backend::Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        let bytes: Vec<u8> = FromSql::<Binary, Sqlite>::from_sql(value)?;
        Ok(Self(EventId(Uuid::from_slice(&bytes)?)))
    }
}

/// A list or object as the text that is stored.
pub(super) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// The list or object a stored text stands for; what someone else wrote there and cannot be read is left out.
pub(super) fn from_json<T: serde::de::DeserializeOwned + Default>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_default()
}

/// Longest text kept, in bytes: an entry of a Postgres index holds 2,704, with a scope or a time beside the text.
const MAX_TEXT: usize = 2_048;

/// A text that both databases take, whatever a client sent as a name or tag. Postgres refuses NUL
/// (<https://www.postgresql.org/docs/current/datatype-character.html>) and what does not fit into an index
/// (<https://www.postgresql.org/docs/current/btree.html>), and one such row would hold up all that come after it.
pub(super) fn storable(text: &str) -> String {
    storable_text(text).into_owned()
}

/// The same, borrowed where nothing must be changed.
pub(super) fn storable_text(text: &str) -> Cow<'_, str> {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = text.get(..end).unwrap_or_default();
    if text.contains('\0') { Cow::Owned(text.replace('\0', "?")) } else { Cow::Borrowed(text) }
}

/// The largest number kept, of tokens, microseconds or nano-dollars (a million dollars a request): no answer is that
/// long or dear, and thousands of them still fit into the column of their sum.
const MAX_NUMBER: i64 = 1_000_000_000_000_000;

/// A count in a signed column; larger ones stay at the largest.
pub(super) fn stored_count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(MAX_NUMBER).min(MAX_NUMBER)
}

/// A cost in its column, within the same bound.
pub(super) fn stored_cost(cost: NanoUsd) -> i64 {
    cost.0.clamp(-MAX_NUMBER, MAX_NUMBER)
}

//! Where keys and spend are kept: Postgres, or a SQLite file in the data directory.

pub mod keys;

pub use keys::KeyRecord;

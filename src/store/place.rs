//! Which database the configuration names, for people: without user and password.

use std::fmt;
use std::path::{Path, PathBuf};

use tokio_postgres::config::Host;

use super::StoreError;
use super::postgres::url::DatabaseUrl;
use super::sqlite;
use crate::config::DatabaseConfig;

/// A database, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabasePlace {
    /// A Postgres server.
    Postgres {
        /// Its hosts, each with its port.
        hosts: Vec<String>,
        /// The database's name.
        name: String,
    },
    /// The file of the embedded database.
    Sqlite(PathBuf),
}

impl DatabasePlace {
    /// The database that [`super::Store::open`] opens.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub fn of(config: &DatabaseConfig, data_dir: &Path) -> Result<Self, StoreError> {
        let Some(url) = &config.url else { return Ok(Self::Sqlite(sqlite::file_in(data_dir))) };
        let DatabaseUrl { config, .. } = url.expose().parse()?;
        let ports = config.get_ports().iter().chain(std::iter::repeat(&5432));
        let hosts = config.get_hosts().iter().zip(ports).map(|(host, port)| match host {
            Host::Tcp(host) if host.contains(':') => format!("[{host}]:{port}"),
            Host::Tcp(host) => format!("{host}:{port}"),
            Host::Unix(folder) => folder.display().to_string(),
        });
        // As libpq has it: where none is named, the one that is called as the user.
        let name = config.get_dbname().or_else(|| config.get_user()).unwrap_or("postgres");
        Ok(Self::Postgres { hosts: hosts.collect(), name: name.to_owned() })
    }

    /// A file that nobody has made yet.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Sqlite(file) if !file.exists())
    }
}

impl fmt::Display for DatabasePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres { hosts, name } => write!(f, "Postgres at {}, database {name}", hosts.join(",")),
            Self::Sqlite(file) => write!(f, "SQLite, file {}", file.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;

    #[test]
    fn a_database_is_shown_without_user_and_password() {
        let cases = [
            ("postgres://mallory:hush@db.example/litellm", "Postgres at db.example:5432, database litellm"),
            ("postgresql://mallory:hu%40sh@a:1,b:2/d?sslmode=require", "Postgres at a:1,b:2, database d"),
            ("postgres://mallory:hush@[fd00::1]:6432/d", "Postgres at [fd00::1]:6432, database d"),
        ];
        for (url, expected) in cases {
            let config = DatabaseConfig { url: Some(Secret::new(url)), ..DatabaseConfig::default() };
            assert_eq!(DatabasePlace::of(&config, Path::new("d")).unwrap().to_string(), expected);
        }
        let file = DatabasePlace::of(&DatabaseConfig::default(), Path::new("/nowhere")).unwrap();
        assert_eq!(file.to_string(), "SQLite, file /nowhere/bedgate.sqlite");
        assert!(file.is_missing());
    }
}

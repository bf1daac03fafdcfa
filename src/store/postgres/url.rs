//! `DATABASE_URL` as libpq, Prisma and hosted databases write it, read into what a connection needs.
//!
//! <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>
//!
//! tokio-postgres' own reader knows neither `verify-ca`, `verify-full` nor `sslrootcert`, and refuses what Prisma
//! adds, so the URL is read here.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::config::{ChannelBinding, SslMode, TargetSessionAttrs};

/// The port of a URL that names none.
const DEFAULT_PORT: u16 = 5432;
/// How long one attempt to connect may take, unless the URL says otherwise.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Parameters that Prisma and poolers understand and that mean nothing here: bedgate has a schema, a pool and
/// statements of its own.
const TOLERATED: [&str; 12] = [
    "connection_limit",
    "pool_timeout",
    "schema",
    "socket_timeout",
    "statement_cache_size",
    "single_use_connections",
    "max_connection_lifetime",
    "max_idle_connection_lifetime",
    "prepared_statements",
    "sslsni",
    "gssencmode",
    "krbsrvname",
];

/// A database and how to reach it.
#[derive(Clone, Debug)]
pub(in crate::store) struct DatabaseUrl {
    /// Hosts, ports, user, password, database: what tokio-postgres needs.
    pub(in crate::store) config: tokio_postgres::Config,
    /// How far the server's certificate is checked.
    pub(in crate::store) trust: Trust,
    /// `sslrootcert`: certificates trusted instead of the system's.
    pub(in crate::store) root_certificates: Option<PathBuf>,
    /// `sslcert` and `sslkey`: the certificate shown to the server.
    pub(in crate::store) client_certificate: Option<(PathBuf, PathBuf)>,
    /// `pgbouncer=true`, Prisma's word for a pooler that gives each transaction another connection.
    pub(in crate::store) is_behind_pooler: bool,
    /// Parameters that were not understood; named in one warning.
    pub(in crate::store) ignored: Vec<String>,
}

/// How far the server's certificate is checked (`sslmode`).
/// <https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Trust {
    /// `disable`: no TLS.
    Plain,
    /// `allow`, `prefer`, `require`: against listeners, not against impostors.
    AnyCertificate,
    /// `verify-ca`, and `require` with a `sslrootcert`: the chain, not the name.
    Chain,
    /// `verify-full`: the chain and the name.
    ChainAndName,
}

/// Why a `DATABASE_URL` cannot be used. Never repeats the URL: it holds a password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DatabaseUrlError {
    /// Neither `postgres://` nor `postgresql://`.
    #[error("must begin with postgres:// or postgresql://")]
    Scheme,
    /// Nowhere to connect to.
    #[error("names no host")]
    NoHost,
    /// An unusable port.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// A broken percent-encoding, or one that is not UTF-8.
    #[error("the {0} is not percent-encoded UTF-8")]
    Encoding(&'static str),
    /// A parameter with a value that is not known.
    #[error("{parameter}={value} is not known: expected {expected}")]
    Value {
        /// The parameter's name.
        parameter: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be set to.
        expected: &'static str,
    },
    /// A parameter about TLS that bedgate does not know: ignoring it could mean less safety than was asked for.
    #[error("the TLS parameter {0} is not supported: use sslmode, sslrootcert, sslcert and sslkey")]
    TlsParameter(String),
    /// A client certificate without its key.
    #[error("sslkey needs sslcert")]
    KeyWithoutCertificate,
}

impl std::str::FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))
            .ok_or(DatabaseUrlError::Scheme)?;
        let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
        // The last `@`: unencoded ones in a password are common, and none can be in a host.
        let (user_info, place) = before_query.rsplit_once('@').unwrap_or(("", before_query));
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));

        let mut config = tokio_postgres::Config::new();
        config
            .application_name("bedgate")
            .connect_timeout(DEFAULT_CONNECT_TIMEOUT)
            .keepalives_idle(Duration::from_secs(30))
            .tcp_user_timeout(Duration::from_secs(30));
        read_user(&mut config, user_info)?;
        if !database.is_empty() {
            config.dbname(decoded(database, "database name")?);
        }
        let mut reader = ParameterReader::new(config);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            reader.read(&decoded(name, "parameter name")?, decoded(value, "parameter value")?)?;
        }
        reader.finish(hosts)
    }
}

/// What has been read of the parameters so far.
struct ParameterReader {
    config: tokio_postgres::Config,
    ssl_mode: SslMode,
    trust: Trust,
    root_certificates: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    hosts: Option<String>,
    ports: Option<String>,
    is_behind_pooler: bool,
    ignored: Vec<String>,
}

impl ParameterReader {
    fn new(config: tokio_postgres::Config) -> Self {
        Self {
            config,
            ssl_mode: SslMode::Prefer,
            trust: Trust::AnyCertificate,
            root_certificates: None,
            certificate: None,
            key: None,
            hosts: None,
            ports: None,
            is_behind_pooler: false,
            ignored: Vec::new(),
        }
    }

    fn read(&mut self, name: &str, value: String) -> Result<(), DatabaseUrlError> {
        match name {
            "host" => self.hosts = Some(value),
            "port" => self.ports = Some(value),
            "user" => _ = self.config.user(value),
            "password" => _ = self.config.password(value),
            "dbname" => _ = self.config.dbname(value),
            "application_name" => _ = self.config.application_name(value),
            "options" => _ = self.config.options(value),
            "connect_timeout" => self.read_connect_timeout(value)?,
            "sslmode" => self.read_ssl_mode(value)?,
            // `system` is libpq's word for the system's store.
            "sslrootcert" => {
                self.root_certificates = Some(value).filter(|path| path != "system").map(Into::into);
            }
            "sslcert" => self.certificate = Some(value.into()),
            "sslkey" => self.key = Some(value.into()),
            // Prisma's word for `sslmode=require`, or `verify-full` (`strict`): sslmode says it better and wins.
            "sslaccept" => self.read_ssl_accept(value)?,
            "channel_binding" => self.read_channel_binding(value)?,
            "target_session_attrs" => self.read_session_attributes(value)?,
            "pgbouncer" => self.is_behind_pooler = value == "true",
            name if TOLERATED.contains(&name) => {}
            name if name.starts_with("ssl") => {
                return Err(DatabaseUrlError::TlsParameter(name.to_owned()));
            }
            name => self.ignored.push(name.to_owned()),
        }
        Ok(())
    }

    fn read_ssl_mode(&mut self, value: String) -> Result<(), DatabaseUrlError> {
        (self.ssl_mode, self.trust) = match value.as_str() {
            "disable" => (SslMode::Disable, Trust::Plain),
            "allow" | "prefer" => (SslMode::Prefer, Trust::AnyCertificate),
            "require" => (SslMode::Require, Trust::AnyCertificate),
            "verify-ca" => (SslMode::Require, Trust::Chain),
            "verify-full" => (SslMode::Require, Trust::ChainAndName),
            _ => {
                let expected = "disable, prefer, require, verify-ca or verify-full";
                return Err(DatabaseUrlError::Value { parameter: "sslmode", value, expected });
            }
        };
        Ok(())
    }

    fn read_ssl_accept(&mut self, value: String) -> Result<(), DatabaseUrlError> {
        match value.as_str() {
            "strict" if self.trust == Trust::AnyCertificate => {
                (self.ssl_mode, self.trust) = (SslMode::Require, Trust::ChainAndName);
                Ok(())
            }
            "strict" | "accept_invalid_certs" => Ok(()),
            _ => {
                let expected = "strict or accept_invalid_certs";
                Err(DatabaseUrlError::Value { parameter: "sslaccept", value, expected })
            }
        }
    }

    fn read_connect_timeout(&mut self, value: String) -> Result<(), DatabaseUrlError> {
        match value.parse::<u64>() {
            // libpq and Prisma: zero is no limit. Here every wait has one.
            Ok(0) => Ok(()),
            Ok(seconds) => {
                self.config.connect_timeout(Duration::from_secs(seconds.min(60)));
                Ok(())
            }
            Err(_) => {
                let expected = "a number of seconds";
                Err(DatabaseUrlError::Value { parameter: "connect_timeout", value, expected })
            }
        }
    }

    fn read_channel_binding(&mut self, value: String) -> Result<(), DatabaseUrlError> {
        let binding = match value.as_str() {
            "disable" => ChannelBinding::Disable,
            "prefer" => ChannelBinding::Prefer,
            "require" => ChannelBinding::Require,
            _ => {
                let expected = "disable, prefer or require";
                return Err(DatabaseUrlError::Value { parameter: "channel_binding", value, expected });
            }
        };
        self.config.channel_binding(binding);
        Ok(())
    }

    fn read_session_attributes(&mut self, value: String) -> Result<(), DatabaseUrlError> {
        let attributes = match value.as_str() {
            "any" => TargetSessionAttrs::Any,
            "read-write" | "primary" => TargetSessionAttrs::ReadWrite,
            _ => {
                let expected = "any or read-write";
                return Err(DatabaseUrlError::Value { parameter: "target_session_attrs", value, expected });
            }
        };
        self.config.target_session_attrs(attributes);
        Ok(())
    }

    fn finish(mut self, hosts: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
        let hosts = self.hosts.as_deref().unwrap_or(hosts);
        read_hosts(&mut self.config, hosts, self.ports.as_deref())?;
        if self.trust == Trust::AnyCertificate && self.root_certificates.is_some() {
            // As libpq does: with a root certificate at hand, `require` verifies it.
            self.trust = if self.ssl_mode == SslMode::Require { Trust::Chain } else { self.trust };
        }
        let client_certificate = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, Some(_)) => return Err(DatabaseUrlError::KeyWithoutCertificate),
            // Prisma means the server's root certificate by a lone `sslcert`.
            (Some(certificate), None) => {
                self.root_certificates.get_or_insert(certificate);
                None
            }
            (None, None) => None,
        };
        self.config.ssl_mode(self.ssl_mode);
        Ok(DatabaseUrl {
            config: self.config,
            trust: self.trust,
            root_certificates: self.root_certificates,
            client_certificate,
            is_behind_pooler: self.is_behind_pooler,
            ignored: self.ignored,
        })
    }
}

fn read_user(config: &mut tokio_postgres::Config, user_info: &str) -> Result<(), DatabaseUrlError> {
    let (user, password) = match user_info.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (user_info, None),
    };
    if !user.is_empty() {
        config.user(decoded(user, "user")?);
    }
    if let Some(password) = password {
        config.password(decoded(password, "password")?);
    }
    Ok(())
}

/// `host`, `host:port`, `[::1]:port`, several of them with commas, `%2Fvar%2Frun%2Fpostgresql` or `/path`.
fn read_hosts(
    config: &mut tokio_postgres::Config,
    hosts: &str,
    ports: Option<&str>,
) -> Result<(), DatabaseUrlError> {
    let mut named_ports = ports.map(|ports| ports.split(','));
    for place in hosts.split(',').filter(|place| !place.is_empty()) {
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None if place.starts_with('/') => (place, None),
            None => place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let named_port = named_ports.as_mut().and_then(Iterator::next);
        let port = match port.or(named_port).filter(|port| !port.is_empty()) {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(DatabaseUrlError::Port)?,
            None => DEFAULT_PORT,
        };
        config.host(decoded(host, "host")?).port(port);
    }
    if config.get_hosts().is_empty() { Err(DatabaseUrlError::NoHost) } else { Ok(()) }
}

fn decoded(text: &str, what: &'static str) -> Result<String, DatabaseUrlError> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| DatabaseUrlError::Encoding(what))?;
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a connection would use, on one line.
    fn shown(url: &str) -> String {
        let url: DatabaseUrl = match url.parse() {
            Ok(url) => url,
            Err(error) => return format!("error: {error}"),
        };
        let config = &url.config;
        let hosts: Vec<String> = config.get_hosts().iter().map(|host| format!("{host:?}")).collect();
        let password = config.get_password().map(|password| String::from_utf8_lossy(password).into_owned());
        let mut text = format!(
            "{}:{}@{}:{:?}/{} {:?}",
            config.get_user().unwrap_or("-"),
            password.as_deref().unwrap_or("-"),
            hosts.join(","),
            config.get_ports(),
            config.get_dbname().unwrap_or("-"),
            url.trust,
        );
        if config.get_ssl_mode() != SslMode::Prefer {
            text.push_str(&format!(" {:?}", config.get_ssl_mode()));
        }
        if let Some(file) = &url.root_certificates {
            text.push_str(&format!(" root={}", file.display()));
        }
        if let Some((certificate, key)) = &url.client_certificate {
            text.push_str(&format!(" client={},{}", certificate.display(), key.display()));
        }
        if url.is_behind_pooler {
            text.push_str(" pooler");
        }
        if !url.ignored.is_empty() {
            text.push_str(&format!(" ignored={}", url.ignored.join(",")));
        }
        text
    }

    #[test]
    fn urls_are_read_as_libpq_and_prisma_write_them() {
        let cases = [
            ("postgres://u:p@h/d", "u:p@Tcp(\"h\"):[5432]/d AnyCertificate"),
            ("postgresql://u@h:6432/d", "u:-@Tcp(\"h\"):[6432]/d AnyCertificate"),
            ("postgres://h", "-:-@Tcp(\"h\"):[5432]/- AnyCertificate"),
            ("postgres://u%40x:p%2F%3A%40%25@h/my%20db", "u@x:p/:@%@Tcp(\"h\"):[5432]/my db AnyCertificate"),
            ("postgres://u:p@ss@h/d", "u:p@ss@Tcp(\"h\"):[5432]/d AnyCertificate"),
            ("postgres://u:a:b@h/d", "u:a:b@Tcp(\"h\"):[5432]/d AnyCertificate"),
            ("postgres://u@[::1]:5433/d", "u:-@Tcp(\"::1\"):[5433]/d AnyCertificate"),
            ("postgres://u@a:1,b/d", "u:-@Tcp(\"a\"),Tcp(\"b\"):[1, 5432]/d AnyCertificate"),
            ("postgres://u@%2Fvar%2Frun/d", "u:-@Unix(\"/var/run\"):[5432]/d AnyCertificate"),
            (
                "postgres:///d?host=/var/run&port=5433&user=u",
                "u:-@Unix(\"/var/run\"):[5433]/d AnyCertificate",
            ),
            ("postgres://u@h/d?sslmode=disable", "u:-@Tcp(\"h\"):[5432]/d Plain Disable"),
            ("postgres://u@h/d?sslmode=prefer", "u:-@Tcp(\"h\"):[5432]/d AnyCertificate"),
            ("postgres://u@h/d?sslmode=require", "u:-@Tcp(\"h\"):[5432]/d AnyCertificate Require"),
            ("postgres://u@h/d?sslmode=verify-ca", "u:-@Tcp(\"h\"):[5432]/d Chain Require"),
            (
                "postgres://u@h/d?sslmode=verify-full&sslrootcert=%2Fca.pem",
                "u:-@Tcp(\"h\"):[5432]/d ChainAndName Require root=/ca.pem",
            ),
            (
                "postgres://u@h/d?sslrootcert=/ca&sslmode=require",
                "u:-@Tcp(\"h\"):[5432]/d Chain Require root=/ca",
            ),
            (
                "postgres://u@h/d?sslmode=verify-full&sslrootcert=system",
                "u:-@Tcp(\"h\"):[5432]/d ChainAndName Require",
            ),
            (
                "postgres://u@h/d?sslmode=require&sslcert=/c&sslkey=/k",
                "u:-@Tcp(\"h\"):[5432]/d AnyCertificate Require client=/c,/k",
            ),
            (
                "postgres://u@h/d?schema=public&connection_limit=5&pool_timeout=10&pgbouncer=true&socket_timeout=3\
                 &statement_cache_size=0&sslaccept=accept_invalid_certs&connect_timeout=10",
                "u:-@Tcp(\"h\"):[5432]/d AnyCertificate pooler",
            ),
            (
                "postgres://u@h/d?sslaccept=strict&sslcert=/ca",
                "u:-@Tcp(\"h\"):[5432]/d ChainAndName Require root=/ca",
            ),
            ("postgres://u@h/d?pgbouncer=true", "u:-@Tcp(\"h\"):[5432]/d AnyCertificate pooler"),
            ("postgres://u@h/d?pgbouncer=false", "u:-@Tcp(\"h\"):[5432]/d AnyCertificate"),
            ("postgres://u@h/d?colour=blue", "u:-@Tcp(\"h\"):[5432]/d AnyCertificate ignored=colour"),
            ("mysql://u@h/d", "error: must begin with postgres:// or postgresql://"),
            ("postgres://", "error: names no host"),
            ("postgres://u@/d", "error: names no host"),
            ("postgres://u@h:port/d", "error: the port is not a number from 1 to 65535"),
            ("postgres://u@h:0/d", "error: the port is not a number from 1 to 65535"),
            ("postgres://u:%ff@h/d", "error: the password is not percent-encoded UTF-8"),
            (
                "postgres://u@h/d?sslmode=verify_full",
                "error: sslmode=verify_full is not known: expected disable, prefer, require, verify-ca or verify-full",
            ),
            (
                "postgres://u@h/d?sslmod=verify-full",
                "error: the TLS parameter sslmod is not supported: use sslmode, sslrootcert, sslcert and sslkey",
            ),
            ("postgres://u@h/d?sslkey=/k", "error: sslkey needs sslcert"),
            (
                "postgres://u@h/d?connect_timeout=soon",
                "error: connect_timeout=soon is not known: expected a number of seconds",
            ),
        ];
        for (url, expected) in cases {
            assert_eq!(shown(url), expected, "{url}");
        }
    }
}

//! What Kubernetes and LiteLLM's chart put into the environment: where to listen, the database in parts, logs as JSON.

use super::*;

/// Names and values of the environment.
type Variables<'v> = &'v [(&'v str, &'v str)];

fn read(yaml: &str, variables: Variables<'_>) -> Result<Config, String> {
    parse(yaml, &variables.iter().copied().collect()).map_err(|faults| faults.to_string())
}

#[test]
fn a_link_to_a_service_is_no_port_and_is_noted() {
    for link in ["tcp://10.96.3.4:4000", "udp://10.96.3.4:53"] {
        let tls = "bedgate_settings: {server: {port: 1, tls_cert: c, tls_key: k, tls_port: 2}}";
        let config = read(tls, &[("BEDGATE_PORT", link), ("BEDGATE_TLS_PORT", link)]).unwrap();
        assert_eq!((config.server.port, config.server.tls.unwrap().port), (1, Some(2)));
        assert_eq!(config.ignored.len(), 2, "{:?}", config.ignored);
        assert!(config.ignored.iter().all(|note| note.contains(link) && note.contains("enableServiceLinks")));
    }
    let beside = read("", &[("BEDGATE_PORT", "tcp://10.96.3.4:4000"), ("PORT", "4001")]).unwrap();
    assert_eq!(beside.server.port, 4001);
    assert!(read("", &[("BEDGATE_PORT", "http://10.96.3.4")]).is_err());
}

#[test]
fn litellms_host_and_port_count_where_nothing_else_says_it_and_open_nothing() {
    let file = "bedgate_settings: {server: {host: f, port: 1}}";
    let with_key = "general_settings: {master_key: sk-1234}";
    let (litellms, own) = ([("HOST", "l"), ("PORT", "2")], [("BEDGATE_HOST", "b"), ("BEDGATE_PORT", "3")]);
    let listens = |yaml: &str, variables: Variables<'_>| {
        let server = read(yaml, variables).unwrap().server;
        (server.host.unwrap_or_default(), server.port)
    };
    assert_eq!(listens(file, &[]), ("f".to_owned(), 1));
    assert_eq!(listens(file, &litellms), ("f".to_owned(), 1));
    assert_eq!(listens(file, &[litellms, own].concat()), ("b".to_owned(), 3));
    assert_eq!(listens(with_key, &litellms), ("l".to_owned(), 2));
    assert_eq!(listens("", &litellms), (String::new(), 2));
    assert_eq!(listens("", &own), ("b".to_owned(), 3));
}

#[test]
fn the_parts_of_a_database_make_its_url() {
    let url = |more: Variables<'_>| {
        let named =
            [("DATABASE_USERNAME", "u@x"), ("DATABASE_PASSWORD", "p:/?#@ %"), ("DATABASE_NAME", "l-1")];
        let config = read("", &[&named, more].concat()).unwrap();
        config.database.url.map(|url| url.expose().to_owned()).unwrap()
    };
    let start = "postgresql://u%40x:p%3A%2F%3F%23%40%20%25@";
    let cases: [(Variables<'_>, &str); 7] = [
        (&[("DATABASE_HOST", "db")], "db/l%2D1"),
        (
            &[("DATABASE_HOST", "db"), ("DATABASE_PORT", "5433"), ("DATABASE_SCHEMA", "s")],
            "db:5433/l%2D1?schema=s",
        ),
        (&[("DATABASE_HOST", "db"), ("DATABASE_PORT", "tcp://10.0.0.1:5432")], "db/l%2D1"),
        (&[("DATABASE_HOST", "db:6432"), ("DATABASE_PORT", "5433")], "db:6432/l%2D1"),
        (&[("DATABASE_HOST", "fd00::1")], "[fd00::1]/l%2D1"),
        (&[("DATABASE_HOST", "fd00::1"), ("DATABASE_PORT", "5433")], "[fd00::1]:5433/l%2D1"),
        (&[("DATABASE_HOST", "db"), ("DATABASE_PASSWORD", "")], "db/l%2D1"),
    ];
    for (more, expected) in cases {
        let start = if more.contains(&("DATABASE_PASSWORD", "")) { "postgresql://u%40x@" } else { start };
        assert_eq!(url(more), format!("{start}{expected}"));
    }
}

#[test]
fn a_url_goes_before_the_parts_of_a_database() {
    let parts = [("DATABASE_HOST", "parts")];
    let url = ("DATABASE_URL", "postgres://variable/d");
    let used = |yaml: &str, variables: Variables<'_>| {
        read(yaml, variables).unwrap().database.url.map(|url| url.expose().to_owned())
    };
    let file = "general_settings: {database_url: 'postgres://file/d'}";
    assert_eq!(used(file, &parts).as_deref(), Some("postgres://file/d"));
    assert_eq!(used("", &[parts[0], url]).as_deref(), Some("postgres://variable/d"));
    assert_eq!(used("", &[("DATABASE_PORT", "5432"), ("DATABASE_SCHEMA", "public")]), None);
}

#[test]
fn some_parts_of_a_database_without_the_others_are_a_fault_that_names_them_and_shows_no_password() {
    let cases: [(Variables<'_>, &[&str]); 4] = [
        (&[("DATABASE_HOST", "db")], &["DATABASE_USERNAME", "DATABASE_NAME", "DATABASE_PASSWORD"]),
        (
            &[("DATABASE_HOST", "db"), ("DATABASE_USERNAME", "u"), ("DATABASE_PASSWORD", "hush")],
            &["DATABASE_NAME"],
        ),
        (&[("DATABASE_PASSWORD", "hush")], &["DATABASE_HOST", "DATABASE_USERNAME", "DATABASE_NAME"]),
        (
            &[("DATABASE_HOST", "db/hush@x"), ("DATABASE_USERNAME", "u"), ("DATABASE_NAME", "n")],
            &["DATABASE_HOST", "a host name"],
        ),
    ];
    for (variables, named) in cases {
        let faults = read("", variables).unwrap_err();
        assert!(named.iter().all(|name| faults.contains(name)), "{faults}");
        assert!(!faults.contains("hush"), "{faults}");
    }
}

#[test]
fn litellms_ways_to_ask_for_json_make_the_log_json_but_for_an_access_log_that_is_off() {
    let asked = "litellm_settings: {json_logs: true}";
    let cases: [(&str, Variables<'_>, (bool, AccessLog)); 6] = [
        ("", &[], (false, AccessLog::Text)),
        (asked, &[], (true, AccessLog::Json)),
        ("", &[("JSON_LOGS", "True")], (true, AccessLog::Json)),
        ("", &[("JSON_LOGS", "false")], (false, AccessLog::Text)),
        ("bedgate_settings: {access_log: off}", &[("JSON_LOGS", "1")], (true, AccessLog::Off)),
        ("bedgate_settings: {access_log: json}", &[], (true, AccessLog::Json)),
    ];
    for (yaml, variables, expected) in cases {
        let config = read(yaml, variables).unwrap();
        assert_eq!((config.logs_json(), config.access_log), expected, "{yaml} {variables:?}");
        assert_eq!(config.ignored, Vec::<String>::new());
    }
}

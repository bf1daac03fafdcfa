//! Options of LiteLLM's command line that mean nothing here: taken, so that its users' start commands work, and named in
//! the warning of what is not used.
//!
//! Not among them is what would change what LiteLLM does at all (`--model`, `--max_budget`, `--skip_server_startup`):
//! those are refused.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// Options that stand alone.
const FLAGS: [&str; 16] = [
    "debug",
    "detailed_debug",
    "run_gunicorn",
    "run_hypercorn",
    "run_granian",
    "use_queue",
    "drop_params",
    "local",
    "reload",
    "iam_token_db_auth",
    "azure_postgresql_auth",
    "use_prisma_db_push",
    "use_prisma_migrate",
    "enforce_prisma_migration_check",
    "use_v2_migration_resolver",
    "use_legacy_migration_resolver",
];

/// Options with a value.
const VALUED: [&str; 11] = [
    "num_workers",
    "granian_threads",
    "telemetry",
    "log_config",
    "ciphers",
    "request_timeout",
    "keepalive_timeout",
    "timeout_worker_healthcheck",
    "max_requests_before_restart",
    "max_requests_before_restart_jitter",
    "limit_concurrency",
];

/// Which of them were given.
#[derive(Debug, Default)]
pub(super) struct LitellmFlags {
    pub(super) given: Vec<&'static str>,
}

impl Args for LitellmFlags {
    fn augment_args(command: Command) -> Command {
        let flags = FLAGS.map(|name| (name, ArgAction::SetTrue));
        let valued = VALUED.map(|name| (name, ArgAction::Append));
        let hidden = |(name, action)| Arg::new(name).long(name).hide(true).action(action);
        command.args(flags.into_iter().chain(valued).map(hidden))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for LitellmFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = FLAGS.into_iter().filter(|name| matches.get_flag(name));
        let valued = VALUED.into_iter().filter(|name| matches.contains_id(name));
        Ok(Self { given: flags.chain(valued).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The command line with its command: options without one are those of `serve`, as LiteLLM has no commands.
pub(super) fn with_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let of_the_program = ["-h", "--help", "-V", "--version"];
    let first = arguments.get(1).map(|first| first.to_string_lossy());
    if first.is_some_and(|first| first.starts_with('-') && !of_the_program.contains(&&*first)) {
        arguments.insert(1, OsStr::new("serve").to_owned());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_without_a_command_are_those_of_serve() {
        let cases = [
            ("bedgate --config x --port 4000", "bedgate serve --config x --port 4000"),
            ("bedgate -c x", "bedgate serve -c x"),
            ("bedgate --config x --help", "bedgate serve --config x --help"),
            ("bedgate serve --port 1", "bedgate serve --port 1"),
            ("bedgate check --config x", "bedgate check --config x"),
            ("bedgate --help", "bedgate --help"),
            ("bedgate -V", "bedgate -V"),
            ("bedgate", "bedgate"),
        ];
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        for (given, expected) in cases {
            assert_eq!(with_command(words(given)), words(expected));
        }
    }

    #[test]
    fn options_that_mean_nothing_here_are_taken_and_told() {
        let command = LitellmFlags::augment_args(Command::new("serve"));
        let line = ["serve", "--num_workers", "8", "--detailed_debug", "--log_config=x", "--run_gunicorn"];
        let flags = LitellmFlags::from_arg_matches(&command.clone().get_matches_from(line)).unwrap();
        assert_eq!(flags.given, ["detailed_debug", "run_gunicorn", "num_workers", "log_config"]);
        assert!(command.clone().try_get_matches_from(["serve", "--max_budget", "10"]).is_err());
        assert!(!command.clone().render_long_help().to_string().contains("num_workers"));
    }
}

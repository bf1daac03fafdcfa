//! The commands: `serve`, `check`, `migrate`, `import-litellm`, `reprice`, `demo`, `healthcheck`, and the simulator alone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Parser, Subcommand};

use crate::config::{self, Config, Environment};
use crate::domain::Secret;
use crate::store::{DatabasePlace, Store, StoreError};
use crate::telemetry;

mod demo;
mod health;
mod import_litellm;
mod litellm_flags;
mod reprice;
mod serve;
mod simulate;

use self::demo::TemporaryDirectory;
use self::serve::ServeOptions;
use self::simulate::SimulatorCommand;

/// The configuration is wrong (`EX_CONFIG` is 78; LiteLLM's users and linkerd's know 64, `EX_USAGE`).
const EXIT_USAGE: u8 = 64;
/// The gateway could not serve, or could not ship what it owes (`EX_SOFTWARE`).
const EXIT_FAILURE: u8 = 70;

/// A gateway in front of Amazon Bedrock: native requests, virtual keys, exact spend.
///
/// Options without a command are those of `serve`.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve; also what options without a command do.
    Serve(Box<ServeOptions>),
    /// Check the configuration and name every fault at once.
    Check {
        /// A YAML file, or a directory of YAML files [default: config/ if it exists]
        #[arg(long, env = "BEDGATE_CONFIG", value_parser = path_or_nothing())]
        config: Option<PathBuf>,
    },
    /// Bring the database up to date and end.
    Migrate {
        /// A YAML file, or a directory of YAML files [default: config/ if it exists]
        #[arg(long, env = "BEDGATE_CONFIG", value_parser = path_or_nothing())]
        config: Option<PathBuf>,
        /// Where SQLite is [default: data]
        #[arg(long)]
        data_dir: Option<PathBuf>,
    },
    /// Charge events whose price was missing when they ended, by the prices known now.
    Reprice {
        /// A YAML file, or a directory of YAML files [default: config/ if it exists]
        #[arg(long, env = "BEDGATE_CONFIG", value_parser = path_or_nothing())]
        config: Option<PathBuf>,
        /// Where SQLite is [default: data]
        #[arg(long)]
        data_dir: Option<PathBuf>,
        /// Change nothing, only say what would be charged.
        #[arg(long)]
        dry_run: bool,
    },
    /// Take over the keys, teams, end users and budgets of a LiteLLM proxy, with what they have spent.
    ///
    /// What is there already is left as it is, so it can be run again. LiteLLM's database is only read.
    ImportLitellm {
        /// LiteLLM's database: postgresql://…
        #[arg(long, env = "LITELLM_DATABASE_URL", hide_env_values = true)]
        from: String,
        /// A YAML file, or a directory of YAML files [default: config/ if it exists]
        #[arg(long, env = "BEDGATE_CONFIG", value_parser = path_or_nothing())]
        config: Option<PathBuf>,
        /// Where SQLite is [default: data]
        #[arg(long)]
        data_dir: Option<PathBuf>,
        /// Change nothing, only say what would be imported.
        #[arg(long)]
        dry_run: bool,
        /// Import also where limits of LiteLLM's are lost that bedgate does not have; they are named.
        #[arg(long)]
        accept_loss: bool,
    },
    /// Try bedgate with nothing configured: a simulated Bedrock, an embedded database, a key.
    Demo {
        /// Port of the gateway.
        #[arg(long, default_value_t = 4000)]
        port: u16,
        /// Port of the simulated Bedrock; 0 takes a free one.
        #[arg(long, default_value_t = 0)]
        simulator_port: u16,
    },
    /// Ask a running gateway whether it is ready: exit 0 if it is.
    Healthcheck {
        /// What the gateway was started with, to know where it listens [default: config/ if it exists]
        #[arg(long, env = "BEDGATE_CONFIG", value_parser = path_or_nothing())]
        config: Option<PathBuf>,
        /// Address of the gateway [default: what the configuration says]
        #[arg(long)]
        host: Option<String>,
        /// Port of the gateway [default: what the configuration says, else 4000]
        #[arg(long)]
        port: Option<u16>,
    },
    /// Run the simulated Bedrock alone.
    #[command(hide = true)]
    Simulator(SimulatorCommand),
}

/// A command whose configuration was read.
#[derive(Debug)]
pub struct Prepared {
    command: Command,
    config: Config,
}

impl Cli {
    /// Reads the command line; where it is wrong, or asks for help, says so and ends the process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::parse_from(litellm_flags::with_command(std::env::args_os().collect()))
    }

    /// Reads the configuration, where the command has one.
    ///
    /// # Errors
    /// The exit code, after every fault was printed.
    pub fn prepare(self) -> Result<Prepared, ExitCode> {
        let path = match &self.command {
            Command::Serve(options) => Some(&options.config),
            Command::Check { config }
            | Command::Migrate { config, .. }
            | Command::ImportLitellm { config, .. }
            | Command::Reprice { config, .. } => Some(config),
            Command::Healthcheck { config, port: None, .. } => Some(config),
            Command::Demo { .. } | Command::Healthcheck { .. } | Command::Simulator(_) => None,
        };
        let mut environment = Environment::of_process();
        if let Command::Serve(options) = &self.command {
            options.put_into(&mut environment);
        }
        let config = match path {
            None => Config::default(),
            Some(path) => config::load(named(path), &environment).map_err(|faults| {
                eprintln!("{faults}");
                ExitCode::from(EXIT_USAGE)
            })?,
        };
        Ok(Prepared { command: self.command, config })
    }
}

impl Prepared {
    /// What the configuration adds to the process environment.
    pub fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.config.environment_variables.iter().map(|(name, value)| (name.as_str(), value.expose()))
    }

    /// Runs the command to its end.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let Self { command, mut config } = self;
        match command {
            Command::Serve(options) => {
                options.apply_to(&mut config);
                telemetry::start(config.logs_json());
                in_system(serve::serve(config))
            }
            Command::Check { .. } => check(&config),
            Command::Migrate { data_dir, .. } => on_database(config, data_dir, migrate),
            Command::Reprice { data_dir, dry_run, .. } => {
                on_database(config, data_dir, |config| reprice::run(config, dry_run))
            }
            Command::ImportLitellm { from, data_dir, dry_run, accept_loss, .. } => {
                let options = import_litellm::ImportOptions { only_show: dry_run, accept_loss };
                on_database(config, data_dir, |config| import(config, Secret::new(from), options))
            }
            Command::Demo { port, simulator_port } => {
                telemetry::start(false);
                in_system(demo::run(port, simulator_port))
            }
            Command::Healthcheck { host, port, .. } => {
                let host = host.or(config.server.host);
                health::check(host.as_deref().unwrap_or_default(), port.unwrap_or(config.server.port))
            }
            Command::Simulator(options) => simulate::run(options),
        }
    }
}

/// Takes an empty text, too: `BEDGATE_CONFIG=` in an environment says nothing.
fn path_or_nothing() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

fn named(path: &Option<PathBuf>) -> Option<&Path> {
    path.as_deref().filter(|path| !path.as_os_str().is_empty())
}

fn in_system(command: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    match actix::System::new().block_on(command) {
        Ok(code) => code,
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// Runs a command on the database alone, and says which one.
fn on_database<Work: Future<Output = anyhow::Result<ExitCode>>>(
    mut config: Config,
    data_dir: Option<PathBuf>,
    command: impl FnOnce(Config) -> Work,
) -> ExitCode {
    telemetry::start(false);
    config.server.data_dir = data_dir.unwrap_or(config.server.data_dir);
    in_system(async {
        println!("database: {}", place_of(&config)?);
        command(config).await
    })
}

fn place_of(config: &Config) -> Result<DatabasePlace, StoreError> {
    DatabasePlace::of(&config.database, &config.server.data_dir)
}

fn check(config: &Config) -> ExitCode {
    let place = match place_of(config) {
        Ok(place) => place,
        Err(fault) => {
            eprintln!("the configuration has 1 fault:\n  {fault}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    println!("the configuration is good: {} deployments", config.deployments.len());
    println!("database: {place}");
    if config.master_key.is_none() {
        println!("note: no master key is set, so any key or none is accepted");
    }
    for setting in &config.not_in_force {
        println!("restricts in LiteLLM and does not hold in bedgate: {setting}");
    }
    for price in &config.rounded {
        println!("rounded, since prices have twelve decimals: {price}");
    }
    for ignored in &config.ignored {
        println!("not used by bedgate: {ignored}");
    }
    ExitCode::SUCCESS
}

async fn migrate(config: Config) -> anyhow::Result<ExitCode> {
    let store = Store::open(&config.database, &config.server.data_dir).await?;
    let applied = store.migrate().await?;
    if applied.is_empty() {
        println!("the database is up to date");
    }
    for name in applied {
        println!("migrated: {name}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Imports. A dry run into a file that is not there tries it in one that is removed afterwards.
async fn import(
    mut config: Config,
    from: Secret,
    options: import_litellm::ImportOptions,
) -> anyhow::Result<ExitCode> {
    let passing =
        (options.only_show && place_of(&config)?.is_missing()).then(|| TemporaryDirectory::new("import"));
    if let Some(TemporaryDirectory(path)) = &passing {
        config.server.data_dir.clone_from(path);
    }
    import_litellm::run(config, from, options).await
}

//! The commands: `serve`, `check`, `migrate`, `import-litellm`, `reprice`, `demo`, `healthcheck`, and the simulator alone.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, AccessLog, Config, Environment};
use crate::domain::Secret;
use crate::simulator::{self, SimulatedCredentials, SimulatorOptions};
use crate::startup::Application;
use crate::store::Store;
use crate::telemetry;

mod demo;
mod health;
mod import_litellm;
mod reprice;

/// The configuration is wrong (`EX_CONFIG` is 78; LiteLLM's users and linkerd's know 64, `EX_USAGE`).
const EXIT_USAGE: u8 = 64;
/// The gateway could not serve, or could not ship what it owes (`EX_SOFTWARE`).
const EXIT_FAILURE: u8 = 70;

/// A gateway in front of Amazon Bedrock: native requests, virtual keys, exact spend.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve.
    Serve(ServeOptions),
    /// Check the configuration and name every fault at once.
    Check {
        /// A YAML file, or a directory of YAML files [default: config/ if it exists]
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Bring the database up to date and end.
    Migrate {
        /// A YAML file, or a directory of YAML files [default: config/ if it exists]
        #[arg(long)]
        config: Option<PathBuf>,
        /// Where SQLite is [default: data]
        #[arg(long)]
        data_dir: Option<PathBuf>,
    },
    /// Charge events whose price was missing when they ended, by the prices known now.
    Reprice {
        /// A YAML file, or a directory of YAML files [default: config/ if it exists]
        #[arg(long)]
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
        #[arg(long)]
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
        #[arg(long, env = "BEDGATE_CONFIG")]
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

#[derive(Debug, Args)]
struct ServeOptions {
    /// A YAML file, or a directory of YAML files [default: config/ if it exists]
    #[arg(long, env = "BEDGATE_CONFIG")]
    config: Option<PathBuf>,
    /// Address to listen on [default: 0.0.0.0, or 127.0.0.1 while no master key is set]
    #[arg(long)]
    host: Option<String>,
    /// Port to listen on; 0 takes a free one [default: 4000]
    #[arg(long)]
    port: Option<u16>,
    /// Where the journal, the lock and SQLite are [default: data]
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// PEM file of the certificate for TLS, read again when it changes
    #[arg(long, alias = "ssl_certfile_path")]
    tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key
    #[arg(long, alias = "ssl_keyfile_path")]
    tls_key: Option<PathBuf>,
    /// A port of its own for TLS; 0 takes a free one [default: the one port speaks TLS and nothing else]
    #[arg(long)]
    tls_port: Option<u16>,
}

#[derive(Debug, Args)]
struct SimulatorCommand {
    #[arg(long, default_value_t = 0)]
    port: u16,
    #[arg(long)]
    accept_access_key: Vec<String>,
    #[arg(long)]
    accept_secret_key: Vec<String>,
    #[arg(long)]
    accept_bearer: Vec<String>,
    #[arg(long)]
    region: Option<String>,
    #[arg(long)]
    external_id: Option<String>,
    #[arg(long)]
    forbid: Vec<String>,
    #[arg(long)]
    pace_ms: Option<u64>,
    #[arg(long, default_value_t = 1)]
    workers: usize,
    #[arg(long)]
    no_log: bool,
    #[arg(long)]
    no_signatures: bool,
}

/// A command whose configuration was read.
#[derive(Debug)]
pub struct Prepared {
    command: Command,
    config: Config,
}

impl Cli {
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
            Some(path) => config::load(path.as_deref(), &environment).map_err(|faults| {
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
                telemetry::start(config.access_log == AccessLog::Json);
                in_system(serve(config))
            }
            Command::Check { .. } => {
                check(&config);
                ExitCode::SUCCESS
            }
            Command::Migrate { data_dir, .. } => {
                telemetry::start(false);
                config.server.data_dir = data_dir.unwrap_or(config.server.data_dir);
                in_system(migrate(config))
            }
            Command::Reprice { data_dir, dry_run, .. } => {
                telemetry::start(false);
                config.server.data_dir = data_dir.unwrap_or(config.server.data_dir);
                in_system(reprice::run(config, dry_run))
            }
            Command::ImportLitellm { from, data_dir, dry_run, accept_loss, .. } => {
                telemetry::start(false);
                config.server.data_dir = data_dir.unwrap_or(config.server.data_dir);
                let options = import_litellm::ImportOptions { only_show: dry_run, accept_loss };
                in_system(import_litellm::run(config, Secret::new(from), options))
            }
            Command::Demo { port, simulator_port } => {
                telemetry::start(false);
                in_system(demo::run(port, simulator_port))
            }
            Command::Healthcheck { host, port, .. } => {
                let host = host.or(config.server.host);
                health::check(host.as_deref().unwrap_or_default(), port.unwrap_or(config.server.port))
            }
            Command::Simulator(options) => simulate(options),
        }
    }
}

impl ServeOptions {
    /// What the configuration checks together goes before its variables, and so is checked with the rest.
    fn put_into(&self, environment: &mut Environment) {
        let files = [("BEDGATE_TLS_CERT", &self.tls_cert), ("BEDGATE_TLS_KEY", &self.tls_key)];
        for (name, file) in files {
            if let Some(file) = file {
                environment.set(name, file.to_string_lossy());
            }
        }
        if let Some(port) = self.tls_port {
            environment.set("BEDGATE_TLS_PORT", port.to_string());
        }
    }

    fn apply_to(self, config: &mut Config) {
        let server = &mut config.server;
        server.host = self.host.or_else(|| server.host.take());
        server.port = self.port.unwrap_or(server.port);
        if let Some(data_dir) = self.data_dir {
            server.data_dir = data_dir;
        }
    }
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

async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    warn_of(&config);
    let application = Application::build(config).await?;
    for url in application.urls() {
        println!("listening on {url}");
    }
    run(application).await
}

/// Serves until stopped; what is left in the journal decides the exit code.
async fn run(application: Application) -> anyhow::Result<ExitCode> {
    let drained = application.run_until_stopped().await?;
    if drained.is_clean() {
        log::info!("stopped; {} events were shipped", drained.shipped);
        return Ok(ExitCode::SUCCESS);
    }
    log::error!(
        "stopped with events that the database does not have ({drained:?}); they are in the journal and will be shipped at the next start"
    );
    Ok(ExitCode::from(EXIT_FAILURE))
}

fn warn_of(config: &Config) {
    if config.master_key.is_none() {
        log::warn!(
            "NO MASTER KEY IS SET: anybody who reaches this port uses your AWS account; set BEDGATE_MASTER_KEY"
        );
    }
    for setting in &config.not_in_force {
        log::warn!("RESTRICTS IN LITELLM AND DOES NOT HOLD IN BEDGATE: {setting}");
    }
    if !config.ignored.is_empty() {
        log::warn!("not used by bedgate: {}", config.ignored.join("; "));
    }
}

fn check(config: &Config) {
    println!("the configuration is good: {} deployments", config.deployments.len());
    if config.master_key.is_none() {
        println!("note: no master key is set, so any key or none is accepted");
    }
    for setting in &config.not_in_force {
        println!("restricts in LiteLLM and does not hold in bedgate: {setting}");
    }
    for ignored in &config.ignored {
        println!("not used by bedgate: {ignored}");
    }
}

async fn migrate(config: Config) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&config.server.data_dir)?;
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

fn simulate(command: SimulatorCommand) -> ExitCode {
    telemetry::start(false);
    let pairs = command.accept_access_key.iter().zip(&command.accept_secret_key);
    let mut credentials: Vec<_> = pairs.map(|(id, secret)| SimulatedCredentials::new(id, secret)).collect();
    if credentials.is_empty() {
        credentials.push(SimulatedCredentials::example());
    }
    let defaults = SimulatorOptions::default();
    let options = SimulatorOptions {
        port: command.port,
        credentials,
        bearer_tokens: command.accept_bearer,
        region: command.region,
        external_id: command.external_id,
        forbidden_values: command.forbid,
        pace: command.pace_ms.map_or(defaults.pace, Duration::from_millis),
        workers: command.workers,
        log_requests: !command.no_log,
        check_signatures: !command.no_signatures,
        ..defaults
    };
    match simulator::start(options) {
        Ok(simulator) => {
            println!("simulator listening on {}", simulator.url());
            // It serves on threads of its own until a signal ends the process.
            loop {
                std::thread::park();
            }
        }
        Err(error) => {
            eprintln!("the simulator cannot start: {error}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

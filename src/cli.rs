//! The commands: `serve`, `check`, `migrate`, `demo`, `healthcheck`, and the simulator alone.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, AccessLog, Config, Environment};
use crate::simulator::{self, SimulatedCredentials, SimulatorOptions};
use crate::startup::Application;
use crate::store::Store;
use crate::telemetry;

mod demo;
mod reprice;

/// The configuration is wrong (`EX_CONFIG` is 78; LiteLLM's users and linkerd's know 64, `EX_USAGE`).
const EXIT_USAGE: u8 = 64;
/// The gateway could not serve, or could not ship what it owes (`EX_SOFTWARE`).
const EXIT_FAILURE: u8 = 70;
/// A container's health check must answer by then.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(5);

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
            Command::Check { config } | Command::Migrate { config, .. } | Command::Reprice { config, .. } => {
                Some(config)
            }
            Command::Healthcheck { config, port: None, .. } => Some(config),
            Command::Demo { .. } | Command::Healthcheck { .. } | Command::Simulator(_) => None,
        };
        let config = match path {
            None => Config::default(),
            Some(path) => config::load(path.as_deref(), &Environment::of_process()).map_err(|faults| {
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
            Command::Demo { port, simulator_port } => {
                telemetry::start(false);
                in_system(demo::run(port, simulator_port))
            }
            Command::Healthcheck { host, port, .. } => {
                let host = host.or(config.server.host);
                healthcheck(host.as_deref().unwrap_or_default(), port.unwrap_or(config.server.port))
            }
            Command::Simulator(options) => simulate(options),
        }
    }
}

impl ServeOptions {
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
    println!("listening on {}", application.url());
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
    if !config.ignored.is_empty() {
        log::warn!("not used by bedgate: {}", config.ignored.join("; "));
    }
}

fn check(config: &Config) {
    println!("the configuration is good: {} deployments", config.deployments.len());
    if config.master_key.is_none() {
        println!("note: no master key is set, so any key or none is accepted");
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

fn healthcheck(host: &str, port: u16) -> ExitCode {
    match ask_for_health(host, port) {
        Ok(head) if head.starts_with("HTTP/1.1 200") => ExitCode::SUCCESS,
        Ok(head) => {
            eprintln!("not ready: {}", head.lines().next().unwrap_or_default());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("not ready: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ask_for_health(host: &str, port: u16) -> std::io::Result<String> {
    // Who listens on every address listens on this one.
    let host = match host.trim_start_matches('[').trim_end_matches(']') {
        "" | "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    };
    let address = (host, port).to_socket_addrs()?.next().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
    let mut connection = TcpStream::connect_timeout(&address, HEALTHCHECK_TIMEOUT)?;
    connection.set_read_timeout(Some(HEALTHCHECK_TIMEOUT))?;
    connection
        .write_all(b"GET /health/readiness HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.take(64 * 1024).read_to_string(&mut answer)?;
    Ok(answer)
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

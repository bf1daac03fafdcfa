//! Parses the command line, prepares the process environment, runs one command.

use std::process::ExitCode;

use bedgate::cli::Cli;

/// A request makes and drops some ninety blocks of memory, a few of them large: glibc's allocator gives those no fast path.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let command = match Cli::of_process().prepare() {
        Ok(command) => command,
        Err(code) => return code,
    };
    for (name, value) in command.environment() {
        // The AWS SDK reads its settings from the process environment, and so must see what the configuration's
        // `environment_variables` say.
        #[expect(
            unsafe_code,
            reason = "no other thread has been started yet, so nobody reads the environment"
        )]
        // SAFETY: `main` is still the only thread.
        unsafe {
            std::env::set_var(name, value);
        }
    }
    command.run()
}

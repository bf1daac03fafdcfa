//! The two ends of the benchmark: `mock` answers in Bedrock's place, the other commands ask and measure.
//! Each prints one line of JSON. Options are `name=value`.

use std::collections::HashMap;
use std::io;

mod answers;
mod clock;
mod connection;
mod frames;
mod mock;
mod rate;
mod samples;
mod streams;
mod unary;

/// What the command line says.
pub struct Options(HashMap<String, String>);

impl Options {
    /// A number.
    pub fn number(&self, name: &str, default: usize) -> usize {
        self.0.get(name).map_or(default, |text| text.parse().unwrap_or_else(|_| usage(name)))
    }

    /// A text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

fn usage(problem: &str) -> ! {
    eprintln!(
        "bench-load: {problem}\n\
         mock    port=0 [certificate=FILE key=FILE]\n\
         unary   port= path= [key=] connections= requests= [body=BYTES]\n\
         rate    port= path= [key=] connections= rate=PER_SECOND seconds=\n\
         streams port= path= [key=] connections= streams=\n\
         slow    port= path= [key=] streams= opened_per_second="
    );
    std::process::exit(64)
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(command) = arguments.next() else { usage("no command") };
    let options = Options(
        arguments
            .map(|argument| match argument.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.to_owned()),
                None => usage(&argument),
            })
            .collect(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        match command.as_str() {
            "mock" => mock::run(&options).await,
            "unary" => unary::run(&options).await,
            "rate" => rate::run(&options).await,
            "streams" => streams::run(&options).await,
            "slow" => streams::run_slow(&options).await,
            other => usage(other),
        }
    })
}

//! Streams: a closed loop of paced ones, and many slow ones at once.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::Options;
use crate::answers::{FRAMES_AROUND, StreamPlan};
use crate::clock;
use crate::connection::{Connection, Question, Seen};

#[derive(Default)]
struct Progress {
    left: Cell<usize>,
    frames: Cell<usize>,
    errors: Cell<usize>,
    seen: RefCell<Seen>,
}

impl Progress {
    /// One whole stream.
    async fn stream(
        &self,
        connection: &mut Connection,
        question: &Question,
        expected: usize,
    ) -> io::Result<()> {
        let mut seen = Seen::default();
        let frames = connection.stream(question, &mut seen).await?;
        if frames != expected {
            return Err(io::Error::other(format!("{frames} frames came, {expected} were expected")));
        }
        self.frames.set(self.frames.get() + frames);
        let mut all = self.seen.borrow_mut();
        all.first_byte.extend(seen.first_byte);
        all.transit.extend(seen.transit);
        Ok(())
    }

    fn note(&self, result: io::Result<()>) {
        if let Err(error) = result {
            if self.errors.get() == 0 {
                eprintln!("bench-load: {error}");
            }
            self.errors.set(self.errors.get() + 1);
        }
    }

    fn print(&self, started: u64) {
        let mut seen = self.seen.borrow_mut();
        println!(
            "{{\"frames\":{},\"streams\":{},\"errors\":{},\"seconds\":{:.3},{},{}}}",
            self.frames.get(),
            seen.first_byte.len(),
            self.errors.get(),
            (clock::now() - started) as f64 / 1e9,
            seen.first_byte.json("first_byte"),
            seen.transit.json("transit")
        );
    }
}

fn plan(options: &Options) -> io::Result<StreamPlan> {
    let path = options.text("path").unwrap_or_default();
    StreamPlan::from_path(path).ok_or_else(|| io::Error::other("the path names no stream"))
}

/// `streams` streams over `connections` connections, spread so that their frames do not fall together.
pub async fn run(options: &Options) -> io::Result<()> {
    let question = Rc::new(Question::new(options));
    let plan = plan(options)?;
    let progress = Rc::new(Progress::default());
    progress.left.set(options.number("streams", 1));
    let connections = options.number("connections", 1);
    let started = clock::now();
    let mut tasks = JoinSet::new();
    for index in 0..connections {
        let (question, progress) = (Rc::clone(&question), Rc::clone(&progress));
        let offset = Duration::from_millis(plan.pace_ms) * index as u32 / connections as u32;
        tasks.spawn_local(async move {
            tokio::time::sleep(offset).await;
            let result = async {
                let mut connection = Connection::open(&question).await?;
                while progress.left.get() > 0 {
                    progress.left.set(progress.left.get() - 1);
                    progress.stream(&mut connection, &question, plan.deltas + FRAMES_AROUND).await?;
                }
                Ok(())
            };
            progress.note(result.await);
        });
    }
    while tasks.join_next().await.is_some() {}
    progress.print(started);
    Ok(())
}

/// `streams` streams at once, one connection each. Prints `open` when all of them have been asked for, then goes on
/// to their ends.
pub async fn run_slow(options: &Options) -> io::Result<()> {
    let question = Rc::new(Question::new(options));
    let plan = plan(options)?;
    let progress = Rc::new(Progress::default());
    let streams = options.number("streams", 1000);
    let pause = 1_000_000_000 / options.number("opened_per_second", 1000) as u64;
    let started = clock::now();
    let ticks = clock::Ticks::new(started + pause, pause)?;
    let mut tasks = JoinSet::new();
    while tasks.len() < streams {
        for _ in 0..ticks.passed().await?.min((streams - tasks.len()) as u64) {
            let (question, progress) = (Rc::clone(&question), Rc::clone(&progress));
            tasks.spawn_local(async move {
                let result = async {
                    let mut connection = Connection::open(&question).await?;
                    progress.stream(&mut connection, &question, plan.deltas + FRAMES_AROUND).await
                };
                progress.note(result.await);
            });
        }
    }
    println!("{{\"opened\":{streams}}}");
    while tasks.join_next().await.is_some() {}
    progress.print(started);
    Ok(())
}

//! Requests at fixed times, whatever the answers do: each latency counts from the time at which its request was due,
//! so that a stall is felt by all who would have come meanwhile (no coordinated omission).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::Options;
use crate::clock::{self, Ticks};
use crate::connection::{Connection, Question};
use crate::samples::Samples;

#[derive(Default)]
struct Arrivals {
    due: RefCell<VecDeque<u64>>,
    news: Notify,
    are_over: Cell<bool>,
    latencies: RefCell<Samples>,
    errors: Cell<usize>,
}

pub async fn run(options: &Options) -> io::Result<()> {
    let question = Rc::new(Question::new(options));
    let arrivals = Rc::new(Arrivals::default());
    let mut tasks = JoinSet::new();
    for _ in 0..options.number("connections", 64) {
        let mut connection = Connection::open(&question).await?;
        connection.ask(&question).await?;
        let (question, arrivals) = (Rc::clone(&question), Rc::clone(&arrivals));
        tasks.spawn_local(async move {
            if let Err(error) = serve(&mut connection, &question, &arrivals).await {
                eprintln!("bench-load: {error}");
                arrivals.errors.set(arrivals.errors.get() + 1);
            }
        });
    }
    let rate = options.number("rate", 1000) as u64;
    let total = rate * options.number("seconds", 5) as u64;
    let interval = 1_000_000_000 / rate;
    let start = clock::now() + interval;
    let ticks = Ticks::new(start, interval)?;
    let mut arrived = 0;
    while arrived < total {
        for _ in 0..ticks.passed().await?.min(total - arrived) {
            arrivals.due.borrow_mut().push_back(start + arrived * interval);
            arrivals.news.notify_one();
            arrived += 1;
        }
    }
    arrivals.are_over.set(true);
    arrivals.news.notify_waiters();
    while tasks.join_next().await.is_some() {}
    let seconds = (clock::now() - start) as f64 / 1e9;
    let mut latencies = arrivals.latencies.borrow_mut();
    println!(
        "{{\"requests\":{},\"errors\":{},\"seconds\":{seconds:.3},{}}}",
        latencies.len(),
        arrivals.errors.get(),
        latencies.json("latency")
    );
    Ok(())
}

async fn serve(connection: &mut Connection, question: &Question, arrivals: &Arrivals) -> io::Result<()> {
    loop {
        let due = arrivals.due.borrow_mut().pop_front();
        match due {
            Some(due) => {
                connection.ask(question).await?;
                arrivals.latencies.borrow_mut().add(clock::now() - due);
            }
            None if arrivals.are_over.get() => return Ok(()),
            None => arrivals.news.notified().await,
        }
    }
}

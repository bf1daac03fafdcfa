//! A closed loop: each connection asks again as soon as it is answered.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use tokio::task::JoinSet;

use crate::Options;
use crate::clock;
use crate::connection::{Connection, Question};
use crate::samples::Samples;

pub async fn run(options: &Options) -> io::Result<()> {
    let question = Rc::new(Question::new(options));
    let left = Rc::new(Cell::new(options.number("requests", 1000)));
    let latencies = Rc::new(RefCell::new(Samples::default()));
    let errors = Rc::new(Cell::new(0));
    let started = clock::now();
    let mut tasks = JoinSet::new();
    for _ in 0..options.number("connections", 1) {
        let (question, left, latencies, errors) =
            (Rc::clone(&question), Rc::clone(&left), Rc::clone(&latencies), Rc::clone(&errors));
        tasks.spawn_local(async move {
            if let Err(error) = ask_on(&question, &left, &latencies).await {
                eprintln!("bench-load: {error}");
                errors.set(errors.get() + 1);
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    let seconds = (clock::now() - started) as f64 / 1e9;
    let mut latencies = latencies.borrow_mut();
    println!(
        "{{\"requests\":{},\"errors\":{},\"seconds\":{seconds:.3},{}}}",
        latencies.len(),
        errors.get(),
        latencies.json("latency")
    );
    Ok(())
}

async fn ask_on(question: &Question, left: &Cell<usize>, latencies: &RefCell<Samples>) -> io::Result<()> {
    let mut connection = Connection::open(question).await?;
    while left.get() > 0 {
        left.set(left.get() - 1);
        let asked = clock::now();
        connection.ask(question).await?;
        latencies.borrow_mut().add(clock::now() - asked);
    }
    Ok(())
}

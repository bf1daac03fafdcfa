//! The pure parts of a request's way, in time: `cargo bench --manifest-path benches/timing/Cargo.toml --target-dir target [-- NAME]`.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails says why and is done")]

#[path = "../support/cases.rs"]
mod cases;
#[path = "../support/events.rs"]
mod events;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for case in cases::CASES {
        let mut work = (case.prepare)();
        criterion.bench_function(case.name, |bencher| bencher.iter(&mut work));
    }
    criterion.final_summary();
}

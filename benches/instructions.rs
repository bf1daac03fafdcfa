//! Repeats one pure part, for a tool that counts instructions: `benches/guard` runs it under callgrind.
//!
//! Without a name it tells which there are.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails says why and is done")]

#[path = "support/cases.rs"]
mod cases;
#[path = "support/events.rs"]
mod events;

/// Before what counts: tables are built at their first use, buffers grow.
const WARM_UP: u32 = 5;
/// What counts; `benches/guard.py` divides by it.
const ITERATIONS: u32 = 100;

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| argument != "--bench");
    match cases::CASES.iter().find(|case| Some(case.name) == wanted.as_deref()) {
        Some(case) => {
            let mut work = (case.prepare)();
            (0..WARM_UP).for_each(|_| work());
            iterations_that_count(&mut work);
            // Whatever it takes to clean up is nobody's business.
            std::process::exit(0);
        }
        None => cases::CASES.iter().for_each(|case| println!("{}", case.name)),
    }
}

/// Callgrind counts what happens in here, and below.
#[inline(never)]
fn iterations_that_count(work: &mut Box<dyn FnMut()>) {
    (0..ITERATIONS).for_each(|_| work());
}

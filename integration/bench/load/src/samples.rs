//! Durations, and the percentiles of them.

/// Nanoseconds, one for each event.
#[derive(Default)]
pub struct Samples(Vec<u64>);

impl Samples {
    pub fn add(&mut self, nanos: u64) {
        self.0.push(nanos);
    }

    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// `"x_p50_us":…` and so on, in microseconds, for the line of JSON.
    pub fn json(&mut self, name: &str) -> String {
        self.0.sort_unstable();
        let at = |share: f64| {
            let index = (self.0.len() as f64 * share) as usize;
            self.0.get(index.min(self.0.len().saturating_sub(1))).map_or(0.0, |nanos| *nanos as f64 / 1e3)
        };
        format!(
            "\"{name}_p50_us\":{:.1},\"{name}_p90_us\":{:.1},\"{name}_p99_us\":{:.1},\"{name}_p999_us\":{:.1},\"{name}_max_us\":{:.1}",
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            at(1.0)
        )
    }
}

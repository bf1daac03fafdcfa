//! What a stream costs while it goes on, held against the budgets: its reservation grows with it, and a hard budget that
//! has no room for what it will likely cost next ends it.

use super::Account;
use crate::domain::{NanoUsd, UnixMicros};
use crate::error::GatewayError;
use crate::limits::PossibleCost;
use crate::limits::cost_bound::likely_tokens;

/// What was seen of a stream's cost.
#[derive(Debug, Default)]
pub(super) struct Spending {
    so_far: NanoUsd,
    /// The most that it grew by between two statements: what the next one may add, too.
    largest_step: NanoUsd,
}

impl Spending {
    /// Takes in what the answer says of its usage since the last time.
    ///
    /// # Errors
    /// The limit that has no room for more.
    pub(super) fn follow(&mut self, account: &mut Account) -> Result<(), GatewayError> {
        let Some(cost) = account.new_cost_so_far() else { return Ok(()) };
        if account.admission().is_unlimited() {
            return Ok(());
        }
        let tokens = likely_tokens(account.request_facts());
        let bound = Some(self.next(cost));
        account.admission().reserve(PossibleCost { bound, likely: None }, tokens, UnixMicros::now())
    }

    /// What the stream will have cost at the next statement, by all that was seen.
    fn next(&mut self, cost: NanoUsd) -> NanoUsd {
        let step = NanoUsd(cost.0.saturating_sub(self.so_far.0));
        self.largest_step = self.largest_step.max(step);
        self.so_far = cost;
        NanoUsd(cost.0.saturating_add(self.largest_step.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_statement_is_taken_to_add_as_much_as_any_before() {
        let mut spending = Spending::default();
        for (cost, expected) in [(10, 20), (12, 22), (42, 72), (42, 72), (50, 80)] {
            assert_eq!(spending.next(NanoUsd(cost)), NanoUsd(expected), "{cost}");
        }
    }
}

//! `upperbound_key_generate_params` where a key is changed: what it has afterwards is judged, not what was asked for.

use super::super::error::AdminError;
use super::{is_longer, refuse_above};
use crate::config::KeyBounds;
use crate::domain::UnixMicros;
use crate::store::limit_set::LimitPatch;
use crate::store::{KeyPatch, KeyRecord, LimitSet};

/// Keeps what a key has after a change within the bounds, where the change has a say in it: by what it lifts, and by the
/// budget that the key names from then on (`named`). Where neither the key nor that budget says anything within the bound, the
/// key gets the bound.
///
/// # Errors
/// 400 in LiteLLM's words: the budget that the change asks for is above a bound, and the key has no limit of its own there.
pub(in crate::http::admin) fn bound_result(
    bounds: &KeyBounds,
    before: &KeyRecord,
    named: Option<&LimitSet>,
    patch: &mut KeyPatch,
    now: UnixMicros,
) -> Result<(), AdminError> {
    let asks_for_budget = matches!(patch.budget_id, Some(Some(_)));
    let moves_budget = asks_for_budget || (patch.budget_id.is_some() && before.budget_id.is_some());
    let mut own = before.limits.clone();
    patch.limits.clone().apply(&mut own, now);
    let nothing = LimitSet::default();
    let left_to_named = left_to(named.unwrap_or(&nothing), &own);
    if asks_for_budget {
        refuse_above(bounds, &left_to_named, None, now)?;
    }
    let limits = &mut patch.limits;
    bound_duration(bounds, &own, &left_to_named, limits, moves_budget, now);
    bound(&mut limits.max_budget, own.max_budget, left_to_named.max_budget, bounds.max_budget, moves_budget);
    for (change, own, named, most) in [
        (&mut limits.max_parallel, own.max_parallel, left_to_named.max_parallel, bounds.max_parallel),
        (&mut limits.tpm, own.tpm, left_to_named.tpm, bounds.tpm),
        (&mut limits.rpm, own.rpm, left_to_named.rpm, bounds.rpm),
    ] {
        bound(change, own, named, most, moves_budget);
    }
    Ok(())
}

/// What a named budget says that the key itself does not.
fn left_to(named: &LimitSet, own: &LimitSet) -> LimitPatch {
    let has_duration = own.max_budget.is_some() || own.budget_duration.is_some();
    LimitPatch {
        max_budget: named.max_budget.filter(|_| own.max_budget.is_none()).map(Some),
        budget_duration: named
            .budget_duration
            .clone()
            .filter(|_| !has_duration && named.max_budget.is_some())
            .map(Some),
        max_parallel: named.max_parallel.filter(|_| own.max_parallel.is_none()).map(Some),
        tpm: named.tpm.filter(|_| own.tpm.is_none()).map(Some),
        rpm: named.rpm.filter(|_| own.rpm.is_none()).map(Some),
        ..LimitPatch::default()
    }
}

/// Gives a key the bound where the change took a limit away and none within the bound is left.
fn bound<T: Copy + PartialOrd>(
    change: &mut Option<Option<T>>,
    own: Option<T>,
    named: Option<Option<T>>,
    most: Option<T>,
    moves_budget: bool,
) {
    let is_touched = moves_budget || matches!(change, Some(None));
    let Some(most) = most.filter(|_| is_touched && own.is_none()) else { return };
    if named.flatten().is_none_or(|named| named > most) {
        *change = Some(Some(most));
    }
}

/// A budget that never starts anew is the strictest, so a duration that is lifted stays so. A key gets the bound where it
/// loses its budget's duration with the budget, and where a longer one of the budget that it names would hold.
fn bound_duration(
    bounds: &KeyBounds,
    own: &LimitSet,
    left_to_named: &LimitPatch,
    change: &mut LimitPatch,
    moves_budget: bool,
    now: UnixMicros,
) {
    let Some(most) = &bounds.budget_duration else { return };
    let lifts = matches!(change.max_budget, Some(None)) || matches!(change.budget_duration, Some(None));
    let named = left_to_named.budget_duration.as_ref().and_then(Option::as_deref);
    let is_too_long = (moves_budget || lifts) && named.is_some_and(|named| is_longer(named, most, now));
    let has_a_budget = own.max_budget.is_some() || left_to_named.max_budget.is_some();
    let loses_budget =
        moves_budget && !has_a_budget && own.budget_duration.is_none() && change.budget_duration.is_none();
    if is_too_long || loses_budget {
        change.budget_duration = Some(Some(most.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, bounds};
    use super::*;
    use crate::domain::NanoUsd;

    #[test]
    fn a_limit_that_is_lifted_becomes_the_bound() {
        let limits = LimitPatch { max_budget: Some(None), tpm: Some(None), ..LimitPatch::default() };
        let mut patch = KeyPatch { limits, ..KeyPatch::default() };
        bound_result(&bounds(), &KeyRecord::default(), None, &mut patch, NOW).unwrap();
        assert_eq!(
            (patch.limits.max_budget, patch.limits.tpm, patch.limits.rpm),
            (Some(NanoUsd::from_usd(10.0)), Some(None), None)
        );
    }

    /// A change, what it makes of the key's own budget and duration (`None`: they stay), and the budget that is named.
    #[test]
    fn what_a_change_leaves_a_key_with_is_within_the_bounds() {
        let money = |usd| NanoUsd::from_usd(usd);
        let budget = |usd, duration: Option<&str>| LimitSet {
            max_budget: money(usd),
            budget_duration: duration.map(str::to_owned),
            ..LimitSet::default()
        };
        let (small, large, slow) = (budget(0.5, None), budget(500.0, None), budget(0.5, Some("60d")));
        let named = |id: Option<&str>| Some(id.map(str::to_owned));
        let naming = |id| KeyPatch { budget_id: named(id), ..KeyPatch::default() };
        let limiting = |limits| KeyPatch { limits, ..KeyPatch::default() };
        let lifts = LimitPatch { max_budget: Some(None), ..LimitPatch::default() };
        let never_anew = LimitPatch { budget_duration: Some(None), ..LimitPatch::default() };
        let own = |usd| KeyRecord {
            limits: budget(usd, None),
            budget_id: Some("b".to_owned()),
            ..KeyRecord::default()
        };
        let of_budget = KeyRecord { budget_id: Some("b".to_owned()), ..KeyRecord::default() };
        let (ten, month) = (Some(money(10.0)), Some(Some("30d".to_owned())));
        let stays = (None, None);
        for (what, before, patch, named, expected) in [
            ("unlinked", &of_budget, naming(None), None, Ok((ten, month.clone()))),
            ("unlinked, with a budget of its own", &own(5.0), naming(None), None, Ok(stays.clone())),
            ("not linked before", &KeyRecord::default(), naming(None), None, Ok(stays.clone())),
            ("to a smaller one", &of_budget, naming(Some("s")), Some(&small), Ok(stays.clone())),
            ("to a larger one", &of_budget, naming(Some("l")), Some(&large), Err("max_budget is over")),
            ("to a larger one, below its own", &own(5.0), naming(Some("l")), Some(&large), Ok(stays.clone())),
            ("to a longer one", &of_budget, naming(Some("s")), Some(&slow), Err("budget_duration is over")),
            (
                "lifted over a smaller one",
                &own(5.0),
                limiting(lifts.clone()),
                Some(&small),
                Ok((Some(None), None)),
            ),
            ("lifted over a larger one", &own(5.0), limiting(lifts.clone()), Some(&large), Ok((ten, None))),
            (
                "lifted over a longer one",
                &own(5.0),
                limiting(lifts),
                Some(&slow),
                Ok((Some(None), month.clone())),
            ),
            ("never anew", &own(5.0), limiting(never_anew.clone()), Some(&small), Ok((None, Some(None)))),
            ("not longer", &of_budget, limiting(never_anew), Some(&slow), Ok((None, month))),
            ("something else", &of_budget, KeyPatch::default(), Some(&large), Ok(stays)),
        ] {
            let mut patch = patch;
            let done = bound_result(&bounds(), before, named, &mut patch, NOW);
            match expected {
                Ok(expected) => {
                    done.unwrap();
                    assert_eq!((patch.limits.max_budget, patch.limits.budget_duration), expected, "{what}");
                }
                Err(start) => assert!(done.unwrap_err().to_string().starts_with(start), "{what}"),
            }
        }
    }
}

//! `weight`, `rpm` and `tpm` of the deployments of one name → whole weights.

/// `weight`, `rpm` and `tpm` of one deployment, as written.
pub(super) type Shares = [Option<f64>; 3];

/// Largest weight that shares are scaled down to.
const MAX_WEIGHT: f64 = 1_000_000.0;

/// Whole weights in the proportions of what was written for the deployments of one name: the first of `weight`,
/// `rpm` and `tpm` that any of them has decides, and one without it counts as 1. Only a share of 0 becomes 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and MAX_WEIGHT")]
pub(super) fn whole_weights(group: &[Shares]) -> Vec<u32> {
    let share_of = |shares: &Shares, kind: usize| shares.get(kind).copied().flatten();
    let Some(kind) = (0..3).find(|kind| group.iter().any(|shares| share_of(shares, *kind).is_some())) else {
        return vec![1; group.len()];
    };
    let shares: Vec<f64> = group.iter().map(|shares| share_of(shares, kind).unwrap_or(1.0)).collect();
    let largest = shares.iter().copied().fold(0.0, f64::max);
    let all_whole = shares.iter().all(|share| share.fract() == 0.0);
    let scale = if all_whole && largest <= MAX_WEIGHT { 1.0 } else { MAX_WEIGHT / largest };
    let whole = |share: f64| if share > 0.0 { (share * scale).round().max(1.0) as u32 } else { 0 };
    shares.into_iter().map(whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(share: f64) -> Shares {
        [Some(share), None, None]
    }

    fn rpm(share: f64) -> Shares {
        [None, Some(share), None]
    }

    fn tpm(share: f64) -> Shares {
        [None, None, Some(share)]
    }

    #[test]
    fn shares_become_whole_weights() {
        let none = [None; 3];
        let cases: &[(&[Shares], &[u32])] = &[
            (&[], &[]),
            (&[none, none], &[1, 1]),
            (&[weight(9.0), weight(1.0)], &[9, 1]),
            (&[weight(0.75), weight(0.25)], &[1_000_000, 333_333]),
            (&[rpm(600.0), rpm(60.0)], &[600, 60]),
            (&[tpm(40e6), tpm(10e6)], &[1_000_000, 250_000]),
            (&[tpm(40e6), tpm(1.0)], &[1_000_000, 1]),
            (&[[Some(2.0), Some(600.0), None], rpm(60.0)], &[2, 1]),
            (&[rpm(600.0), none], &[600, 1]),
            (&[weight(0.0), weight(3.0)], &[0, 3]),
            (&[weight(0.0), weight(0.0)], &[0, 0]),
            (&[weight(1e300), weight(1e-300)], &[1_000_000, 1]),
        ];
        for (group, expected) in cases {
            assert_eq!(whole_weights(group), *expected, "{group:?}");
        }
    }
}

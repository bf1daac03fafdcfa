//! Did you mean …: the known name nearest to a mistyped one.

/// Edits (insert, delete, replace, swap of neighbours) up to which a name counts as mistyped.
const MAX_EDITS: usize = 2;

/// The known name that was probably meant; `None` where none is near. Hyphens, underscores and case are one.
pub(super) fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let name = folded(name);
    let near = |candidate: &'k str| {
        let edits = edits(&name, &folded(candidate));
        let is_near = edits <= MAX_EDITS && edits * 3 <= candidate.len();
        is_near.then_some((edits, candidate))
    };
    known.into_iter().filter_map(near).min().map(|(_, candidate)| candidate)
}

fn folded(name: &str) -> Vec<char> {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).take(64).collect()
}

/// Optimal string alignment distance.
fn edits(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
    for (i, l) in left.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let mut best = (at(&row, j) + usize::from(l != r)).min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            let is_swap = i > 0 && j > 0 && left.get(i - 1) == Some(r) && right.get(j - 1) == Some(l);
            if is_swap {
                best = best.min(at(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    at(&row, right.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_finds_its_neighbour() {
        let known = ["master_key", "database_url", "port", "host"];
        let cases = [
            ("masterkey", Some("master_key")),
            ("master-key", Some("master_key")),
            ("MASTER_KEY", Some("master_key")),
            ("matser_key", Some("master_key")),
            ("master_keys", Some("master_key")),
            ("databse_url", Some("database_url")),
            ("prot", Some("port")),
            ("alerting", None),
            ("most", Some("host")),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
    }
}

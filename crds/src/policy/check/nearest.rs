//! The known name that was probably meant.

/// The name with the fewest changed letters, where these are few; the case of letters is ignored.
pub(super) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A longer word is no name with a typing error, and the distance costs the product of both lengths.
    if written.len() > 64 {
        return None;
    }
    let allowed = (written.chars().count() / 3).clamp(1, 3);
    let distances = known.into_iter().map(|name| (distance(written, name), name));
    distances.min_by_key(|(distance, _)| *distance).filter(|(distance, _)| *distance <= allowed).map(|(_, name)| name)
}

/// `did you mean NAME?` where a known name is near, `otherwise` where none is.
pub(crate) fn advice<'a>(written: &str, known: impl IntoIterator<Item = &'a str>, otherwise: &str) -> String {
    nearest(written, known).map_or_else(|| otherwise.into(), |name| format!("did you mean {name}?"))
}

/// Number of letters to insert, remove, replace or swap with their neighbours.
fn distance(first: &str, second: &str) -> usize {
    let first: Vec<char> = first.to_lowercase().chars().collect();
    let second: Vec<char> = second.to_lowercase().chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=second.len()).collect()];
    for (row, letter) in first.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, other) in second.iter().enumerate() {
            let replaced = rows[row][column] + usize::from(letter != other);
            let mut least = replaced.min(rows[row][column + 1] + 1).min(next[column] + 1);
            let is_swap = row > 0 && column > 0 && first[row - 1] == *other && second[column - 1] == *letter;
            if is_swap {
                least = least.min(rows[row - 1][column - 1] + 1);
            }
            next.push(least);
        }
        rows.push(next);
    }
    rows[first.len()][second.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_find_the_name_that_was_meant() {
        let known = ["policy-mode", "override-method", "matchArgs", "matchPIDs"];
        for (written, meant) in [
            ("policy-mdoe", Some("policy-mode")),
            ("policymode", Some("policy-mode")),
            ("matchPids", Some("matchPIDs")),
            ("matchArg", Some("matchArgs")),
            ("podSelector", None),
            ("", None),
            ("é", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
        assert_eq!(nearest(&"x".repeat(1_000_000), known), None);
    }
}

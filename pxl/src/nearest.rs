//! The name that was probably meant.

/// Names longer than this are compared with nothing.
const COMPARED_MAX: usize = 48;

/// The known name that differs least from what was written, if it differs little.
pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if written.len() > COMPARED_MAX {
        return None;
    }
    let allowed = (written.len() / 3).clamp(1, 4);
    let near =
        known.into_iter().filter(|name| name.len() <= COMPARED_MAX && name.len().abs_diff(written.len()) <= allowed);
    let distances = near.map(|name| (distance(written, name), name)).filter(|(distance, _)| *distance <= allowed);
    distances.min().map(|(_, name)| name)
}

/// `; did you mean 'x'?`, or nothing.
pub(crate) fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(written, known).map(|name| format!("; did you mean '{name}'?")).unwrap_or_default()
}

/// Characters inserted, removed, replaced or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, b) in right.iter().enumerate() {
            let replaced = last[column] + usize::from(!a.eq_ignore_ascii_case(b));
            let mut least = replaced.min(last[column + 1] + 1).min(next[column] + 1);
            if row > 0 && column > 0 && *a == right[column - 1] && left[row - 1] == *b {
                least = least.min(before[column - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut last, next);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["http_events", "pgsql_events", "latency", "quantiles"];

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        assert_eq!(nearest("http_event", NAMES), Some("http_events"));
        assert_eq!(nearest("latnecy", NAMES), Some("latency"));
        assert_eq!(nearest("Quantile", NAMES), Some("quantiles"));
        assert_eq!(nearest("sum", NAMES), None);
        assert_eq!(nearest(&"x".repeat(10_000), NAMES), None);
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abcd", "acbd"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}

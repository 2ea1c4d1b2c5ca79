//! Sentences that end with what to do next, whatever the kernel had to say in their middle.

/// A piece of a sentence.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece<'a> {
    /// Ours: never cut.
    Ours(&'a str),
    /// Somebody else's words, or a name: shortened where the sentence would be too long.
    Theirs(&'a str),
}

/// The sentence in at most `limit` characters: of the words that are not ours the longest are shortened first.
pub(super) fn fit(pieces: &[Piece<'_>], limit: usize) -> String {
    let ours: usize = pieces.iter().map(|piece| if let Piece::Ours(text) = piece { length(text) } else { 0 }).sum();
    let theirs = |cap: usize| -> usize {
        let lengths =
            pieces.iter().map(|piece| if let Piece::Theirs(text) = piece { length(text).min(cap) } else { 0 });
        lengths.sum()
    };
    let room = limit.saturating_sub(ours);
    let cap = if theirs(usize::MAX) <= room {
        usize::MAX
    } else {
        (0..=room).rev().find(|cap| theirs(*cap) <= room).unwrap_or_default()
    };
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Ours(text) => (*text).to_owned(),
            Piece::Theirs(text) => trilobite_crds::condition::cut(text, cap),
        })
        .collect()
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::{Piece::*, *};

    #[test]
    fn what_fits_is_not_touched() {
        assert_eq!(fit(&[Theirs("sched/reef"), Ours(": look")], 16), "sched/reef: look");
    }

    #[test]
    fn the_longest_of_others_words_is_shortened_and_ours_are_whole() {
        let said = fit(&[Theirs("ab"), Ours(": "), Theirs(&"x".repeat(50)), Ours("; do this")], 20);
        assert_eq!(said, "ab: xxxxxx…; do this");
        assert_eq!(length(&said), 20);
    }
}

//! Fits a message into a limit by shortening foreign text in its middle, so that the next step at its end stays whole.

/// A piece of a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piece<'a> {
    /// Our own text: never cut.
    Ours(&'a str),
    /// Foreign text or a name: shortened when the message would be too long.
    Theirs(&'a str),
}

/// Joins the pieces into at most `limit` characters; the longest foreign texts are shortened first.
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
    fn short_message_is_unchanged() {
        assert_eq!(fit(&[Theirs("sched/reef"), Ours(": look")], 16), "sched/reef: look");
    }

    #[test]
    fn longest_foreign_text_is_shortened_first() {
        let message = fit(&[Theirs("ab"), Ours(": "), Theirs(&"x".repeat(50)), Ours("; do this")], 20);
        assert_eq!(message, "ab: xxxxxx…; do this");
        assert_eq!(length(&message), 20);
    }
}

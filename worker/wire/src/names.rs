//! Makes names that a pod chose (threads, files, functions) safe for messages, folded stacks and pictures.

use sha2::{Digest, Sha256};
use trilobite_untrusted_text::is_unprintable;

/// Characters that are kept of a thread's or a file's name.
pub const NAME_MAX: usize = 128;
/// Characters that are kept of a function's name; names of templates and generics differ late.
pub const SYMBOL_MAX: usize = 512;
/// Hexadecimal digits at the end of a shortened name that keep two names with the same start apart.
const HASH_DIGITS: usize = 8;

/// A thread's or a file's name without separators of folded stacks, line breaks, characters that XML cannot hold, or
/// whitespace at its edges; at most `NAME_MAX` characters.
pub fn sanitize_name(name: &str) -> String {
    sanitize(name, NAME_MAX)
}

/// The same for the name of a function; at most `SYMBOL_MAX` characters.
pub fn sanitize_symbol(name: &str) -> String {
    sanitize(name, SYMBOL_MAX)
}

/// A shortened name ends in a hash of the whole, so that two functions stay two on every node whose stacks are merged.
fn sanitize(name: &str, limit: usize) -> String {
    let mut letters: Vec<char> = name.chars().take(limit + 1).map(replace_unsafe).collect();
    // Readers of folded stacks trim their lines.
    let visible = |letter: &char| !letter.is_whitespace();
    let (first, last) = (letters.iter().position(visible), letters.iter().rposition(visible));
    let length = letters.len();
    for at in (0..first.unwrap_or(length)).chain(last.map_or(length, |last| last + 1)..length) {
        letters[at] = '?';
    }
    if letters.len() > limit {
        letters.truncate(limit - HASH_DIGITS - 1);
        let hash = Sha256::digest(name.as_bytes());
        letters.push('…');
        let digits = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]).take(HASH_DIGITS);
        letters.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
    }
    if letters.is_empty() { "?".to_owned() } else { letters.into_iter().collect() }
}

/// XML cannot express control characters, U+FFFE and U+FFFF; a terminal or a browser does not show what reorders a name or
/// is invisible.
fn replace_unsafe(letter: char) -> char {
    match letter {
        ';' => ':',
        '\u{fffe}' | '\u{ffff}' => '?',
        letter if is_unprintable(letter) => '?',
        letter => letter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_cannot_end_a_frame_or_a_line() {
        assert_eq!(sanitize_name("a;b\nc d"), "a:b?c d");
        assert_eq!(sanitize_name(&"x".repeat(1000)).chars().count(), NAME_MAX);
    }

    #[test]
    fn names_that_differ_behind_the_limit_stay_two() {
        let long = |end: &str| sanitize_symbol(&format!("{}{end}", "std::map<".repeat(100)));
        assert_ne!(long("int>"), long("long>"));
        assert_eq!(long("int>").chars().count(), SYMBOL_MAX);
        assert!(long("int>").starts_with("std::map<std::map<") && long("int>").contains('…'));
        let fits = "x".repeat(SYMBOL_MAX);
        assert_eq!(sanitize_symbol(&fits), fits);
    }

    #[test]
    fn name_has_no_outer_whitespace_and_nothing_xml_cannot_hold() {
        assert_eq!(sanitize_name(" worker 1\u{2003}"), "?worker 1?");
        assert_eq!(sanitize_name("a\u{fffe}b\u{ffff}\u{1}"), "a?b??");
        assert_eq!(sanitize_symbol("ma\u{202e}ni\u{200b}"), "ma?ni?");
        assert_eq!((sanitize_name("").as_str(), sanitize_name("  ").as_str()), ("?", "??"));
    }
}

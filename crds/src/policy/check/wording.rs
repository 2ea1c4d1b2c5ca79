//! Words and lists of words in messages.

use super::{fault::Faults, nearest::advice};
use crate::policy::word::{Vocabulary, Word};

/// The word, or a fault that names the nearest one of `allowed`.
pub(super) fn known_word<T: Vocabulary>(field: &str, word: &Word<T>, allowed: &[T], faults: &mut Faults) -> Option<T> {
    let known = word.known();
    if known.is_none() {
        let names = || allowed.iter().map(|word| word.as_str());
        faults.invalid(field, || {
            let otherwise = format!("use {}", either(names()));
            format!("{} is not known; {}", shown(word.as_str()), advice(word.as_str(), names(), &otherwise))
        });
    }
    known
}

/// A text of the policy as messages show it: short, and visible where it is empty or has spaces.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 64;
    let short: String = text.chars().take(MOST).collect();
    let cut = if short.len() < text.len() { "..." } else { "" };
    let plain = !short.is_empty() && short.chars().all(|letter| letter.is_ascii_graphic() && letter != '"');
    if plain { format!("{short}{cut}") } else { format!("{short:?}{cut}") }
}

/// `a, b or c`.
pub(super) fn either<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.collect();
    match words.split_last() {
        Some((last, [])) => (*last).into(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

//! Unicode's category Cf: characters that change how others are shown and are not seen themselves.

/// First and last of each range, in Unicode 16.
const FORMAT: [(char, char); 21] = [
    // Soft hyphen.
    ('\u{ad}', '\u{ad}'),
    // Arabic and Syriac number signs, letter mark, end of ayah.
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{180e}', '\u{180e}'),
    // Zero-width characters and marks of direction.
    ('\u{200b}', '\u{200f}'),
    // Bidirectional embeddings and overrides.
    ('\u{202a}', '\u{202e}'),
    // Word joiner, invisible operators; bidirectional isolates.
    ('\u{2060}', '\u{2064}'),
    ('\u{2066}', '\u{206f}'),
    // Byte order mark.
    ('\u{feff}', '\u{feff}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    // Tags.
    ('\u{e0001}', '\u{e0001}'),
    ('\u{e0020}', '\u{e007f}'),
];

pub(crate) fn is_format_character(letter: char) -> bool {
    letter >= FORMAT[0].0 && FORMAT.iter().any(|(first, last)| (*first..=*last).contains(&letter))
}

//! Text that a workload has chosen, e.g. a path, an argument or the name of a thread. Decoding marks each byte that is no
//! UTF-8; escaping leaves nothing that moves a terminal's cursor, reorders a line or cannot be seen; quoting is unambiguous.

#![warn(missing_docs)]

mod format_characters;

use std::fmt::Write;

use format_characters::is_format_character;

/// Whether a terminal obeys the character or shows nothing for it: controls, category Cf, line and paragraph separator.
pub fn is_unprintable(letter: char) -> bool {
    match letter {
        ' '..='~' => false,
        '\u{2028}' | '\u{2029}' => true,
        letter => letter.is_control() || is_format_character(letter),
    }
}

/// Bytes as text, with U+FFFD for each byte that is no UTF-8, as Go decodes them: a pattern that matches so many characters
/// there matches as many here.
pub fn decode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

/// The longest beginning of a text that has at most so many bytes: no character is cut.
pub fn prefix(text: &str, most: usize) -> &str {
    let end = (0..=text.len().min(most)).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

/// The text with its unprintable characters escaped; blanks, quotes and backslashes stay.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    text.chars().for_each(|letter| push_printable(letter, &mut safe));
    safe
}

/// The text in quotes if it is ambiguous without: if it holds blanks, quotes or unprintable characters. Inside of them
/// quotes, backslashes and unprintable characters are escaped.
pub fn quote(text: &str) -> String {
    if !text.chars().any(is_ambiguous) {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter => push_printable(letter, &mut quoted),
        }
    }
    quoted.push('"');
    quoted
}

/// Appends one argument of a command line, quoted as by `quote` and also where it is empty. Unprintable characters stay: it
/// is for programs, and a terminal needs `escape` afterwards, which keeps the result unambiguous.
pub fn push_argument(argument: &str, line: &mut String) {
    if !argument.is_empty() && !argument.chars().any(is_ambiguous) {
        return line.push_str(argument);
    }
    line.push('"');
    for letter in argument.chars() {
        if matches!(letter, '"' | '\\') {
            line.push('\\');
        }
        line.push(letter);
    }
    line.push('"');
}

fn is_ambiguous(letter: char) -> bool {
    letter == '"' || letter.is_whitespace() || is_unprintable(letter)
}

fn push_printable(letter: char, text: &mut String) {
    // Writing to a String cannot fail.
    let _ = match letter {
        '\n' => text.write_str("\\n"),
        '\t' => text.write_str("\\t"),
        '\r' => text.write_str("\\r"),
        letter if !is_unprintable(letter) => text.write_char(letter),
        letter if u32::from(letter) < 0x100 => write!(text, "\\x{:02x}", u32::from(letter)),
        letter => write!(text, "\\u{{{:x}}}", u32::from(letter)),
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    #[test]
    fn prefix_cuts_no_character() {
        assert_eq!(["aé", "é", "a", ""].map(|text| prefix(text, 2)), ["a", "é", "a", ""]);
        assert_eq!((prefix("é", 1), prefix("é", 0), prefix("abc", 9)), ("", "", "abc"));
    }

    /// What `push_argument` has written, read back.
    fn split_arguments(line: &str) -> Vec<String> {
        let mut letters = line.chars().peekable();
        let mut arguments = Vec::new();
        while let Some(first) = letters.next() {
            let mut argument = String::new();
            if first == '"' {
                loop {
                    match letters.next().unwrap() {
                        '"' => break,
                        '\\' => argument.push(letters.next().unwrap()),
                        letter => argument.push(letter),
                    }
                }
            } else {
                argument.push(first);
                while let Some(letter) = letters.next_if(|letter| *letter != ' ') {
                    argument.push(letter);
                }
            }
            arguments.push(argument);
            if letters.next().is_some_and(|blank| blank != ' ') {
                panic!("no blank behind {arguments:?} in {line:?}");
            }
        }
        arguments
    }

    #[test]
    fn unprintable_characters_are_those_of_unicode() {
        let unprintable = Regex::new(r"^[\p{Cc}\p{Cf}\x{2028}\x{2029}]$").unwrap();
        for letter in '\0'..=char::MAX {
            assert_eq!(
                is_unprintable(letter),
                unprintable.is_match(&letter.to_string()),
                "U+{:04X}",
                u32::from(letter)
            );
        }
    }

    #[test]
    fn names_cannot_control_the_terminal() {
        assert_eq!(quote("/bin/\x1b[2Jrm"), "\"/bin/\\x1b[2Jrm\"");
        assert_eq!(escape("a b\nc"), "a b\\nc");
        assert_eq!(quote("/usr/bin/curl"), "/usr/bin/curl");
        assert_eq!(quote("/tmp/a b"), "\"/tmp/a b\"");
        assert_eq!(quote("c:\\x"), "c:\\x");
    }

    #[test]
    fn bidi_overrides_and_zero_width_characters_are_shown() {
        assert_eq!(escape("txt.\u{202e}exe"), "txt.\\u{202e}exe");
        assert_eq!(quote("/bin/s\u{200b}h"), "\"/bin/s\\u{200b}h\"");
        assert_eq!(escape("a\u{2028}b\u{2029}c\u{e0041}d\u{9b}e"), "a\\u{2028}b\\u{2029}c\\u{e0041}d\\x9be");
        assert_eq!(escape("naïve 例 e\u{301}"), "naïve 例 e\u{301}");
    }

    #[test]
    fn quote_inside_an_argument_is_escaped() {
        let mut line = String::new();
        push_argument("say \"hi\" \\", &mut line);
        assert_eq!(line, "\"say \\\"hi\\\" \\\\\"");
    }

    #[test]
    fn each_invalid_byte_is_one_replacement_character() {
        // The first two bytes of a euro sign, then a stray continuation byte.
        assert_eq!(decode(b"a\xe2\x82b\x80"), "a\u{fffd}\u{fffd}b\u{fffd}");
        assert_eq!(decode("café".as_bytes()), "café");
    }

    proptest! {
        #[test]
        fn escaped_text_holds_nothing_unprintable(text in any::<String>()) {
            for safe in [escape(&text), quote(&text)] {
                prop_assert!(!safe.chars().any(is_unprintable), "{:?}", safe);
            }
        }

        #[test]
        fn different_names_are_quoted_differently(one in "[ab\"\\\\ \u{202e}\n]{0,6}", two in "[ab\"\\\\ \u{202e}\n]{0,6}") {
            prop_assert_eq!(one == two, quote(&one) == quote(&two));
        }

        #[test]
        fn joined_arguments_are_split_into_the_same(
            arguments in prop::collection::vec("[ab\"\\\\ \u{202e}\n\t]{0,5}", 0..4),
        ) {
            let mut line = String::new();
            for (number, argument) in arguments.iter().enumerate() {
                if number > 0 {
                    line.push(' ');
                }
                push_argument(argument, &mut line);
            }
            prop_assert_eq!(split_arguments(&line), arguments);
        }
    }
}

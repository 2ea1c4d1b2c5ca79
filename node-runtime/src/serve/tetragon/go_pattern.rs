//! Patterns with the syntax and the meaning of Go's `regexp`, in which Tetragon's clients write them. The syntax of the regex
//! crate differs in classes, escapes and flags, so each pattern is translated to one in which both agree.

use std::str::Chars;

use regex::bytes::{Regex, RegexBuilder};

/// Bytes of a compiled pattern.
const SIZE_LIMIT: usize = 1 << 20;
/// Go's limit for a count in braces.
const REPEAT_MAX: u32 = 1000;
/// The classes of bytes that Go calls by a name in brackets.
const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Not anchored, linear time. The error is what a client reads behind the filter's path.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let mut translation = Translation { rest: pattern.chars(), out: String::with_capacity(pattern.len() + 8) };
    translation.translate()?;
    RegexBuilder::new(&translation.out).size_limit(SIZE_LIMIT).build().map_err(|error| {
        let text = error.to_string();
        text.lines().last().unwrap_or(&text).to_owned()
    })
}

struct Translation<'a> {
    rest: Chars<'a>,
    out: String,
}

impl Translation<'_> {
    fn translate(&mut self) -> Result<(), String> {
        let mut after_repeat = false;
        while let Some(letter) = self.rest.next() {
            let repeat = match letter {
                '*' | '+' | '?' => Some(letter.to_string()),
                '{' => self.counts()?,
                _ => None,
            };
            if let Some(repeat) = repeat {
                if after_repeat {
                    return Err(format!("invalid nested repetition operator {repeat}"));
                }
                self.out.push_str(&repeat);
                if self.eat('?') {
                    self.out.push('?');
                }
                after_repeat = true;
                continue;
            }
            after_repeat = false;
            match letter {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '.' | '|' | ')' | '^' | '$' => self.out.push(letter),
                letter => self.push_literal(letter),
            }
        }
        Ok(())
    }

    /// Takes the next character if it is this one.
    fn eat(&mut self, wanted: char) -> bool {
        let mut ahead = self.rest.clone();
        let is_next = ahead.next() == Some(wanted);
        if is_next {
            self.rest = ahead;
        }
        is_next
    }

    /// Takes everything up to `end`, and `end` itself.
    fn eat_until(&mut self, end: &str) -> Option<String> {
        let (taken, rest) = self.rest.as_str().split_once(end)?;
        self.rest = rest.chars();
        Some(taken.to_owned())
    }

    fn push_literal(&mut self, letter: char) {
        self.out.push_str(&regex::escape(letter.encode_utf8(&mut [0; 4])));
    }

    /// Behind `{`: the counts of a repetition. None if it is a brace like any other.
    fn counts(&mut self) -> Result<Option<String>, String> {
        let Some((counts, rest)) = self.rest.as_str().split_once('}') else { return Ok(None) };
        let (least, most) = match counts.split_once(',') {
            Some((least, most)) => (least, Some(most)),
            None => (counts, None),
        };
        let is_number = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_digit())
                && (text.len() == 1 || !text.starts_with('0'))
        };
        if !is_number(least) || !most.is_none_or(|most| most.is_empty() || is_number(most)) {
            return Ok(None);
        }
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number <= REPEAT_MAX);
        let is_valid = match (number(least), most) {
            (Some(_), None | Some("")) => true,
            (Some(least), Some(most)) => number(most).is_some_and(|most| least <= most),
            (None, _) => false,
        };
        if !is_valid {
            return Err(format!("invalid repeat count {{{counts}}}: 0 to {REPEAT_MAX}, the smaller first"));
        }
        let repeat = format!("{{{counts}}}");
        self.rest = rest.chars();
        Ok(Some(repeat))
    }

    /// Behind `(`. Groups lose their names, which a match needs not; flags are those of Go.
    fn group(&mut self) -> Result<(), String> {
        if !self.eat('?') {
            self.out.push('(');
            return Ok(());
        }
        let behind = self.rest.as_str();
        if behind.starts_with("P<") || behind.starts_with('<') {
            let name = self.eat_until(">").and_then(|name| Some(name.split_once('<')?.1.to_owned()));
            let is_word = |name: &String| {
                !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
            };
            if !name.as_ref().is_some_and(is_word) {
                return Err(format!("invalid named capture (?{behind}"));
            }
            self.out.push('(');
            return Ok(());
        }
        self.flags().ok_or_else(|| format!("invalid or unsupported Perl syntax (?{behind}"))
    }

    /// Behind `(?`. None if these are no flags of Go.
    fn flags(&mut self) -> Option<()> {
        let (mut set, mut cleared, mut clears) = (String::new(), String::new(), false);
        let end = loop {
            match self.rest.next()? {
                flag @ ('i' | 'm' | 's' | 'U') => {
                    let (list, other) = if clears { (&mut cleared, &mut set) } else { (&mut set, &mut cleared) };
                    other.retain(|one| one != flag);
                    if !list.contains(flag) {
                        list.push(flag);
                    }
                }
                '-' if !clears => clears = true,
                end @ (':' | ')') if !clears || !cleared.is_empty() => break end,
                _ => return None,
            }
        };
        let minus = if cleared.is_empty() { "" } else { "-" };
        if end == ':' || !set.is_empty() || !cleared.is_empty() {
            self.out.push_str(&format!("(?{set}{minus}{cleared}{end}"));
        }
        Some(())
    }

    /// Behind a backslash outside of a class.
    fn escape(&mut self) -> Result<(), String> {
        let mut ahead = self.rest.clone();
        match ahead.next() {
            Some(letter @ ('A' | 'z')) => self.out.extend(['\\', letter]),
            // Go's word boundaries know ASCII alone.
            Some(letter @ ('b' | 'B')) => self.out.push_str(&format!("(?-u:\\{letter})")),
            Some('Q') => {
                let text = ahead.as_str();
                let (literal, rest) = text.split_once("\\E").unwrap_or((text, ""));
                literal.chars().for_each(|letter| self.push_literal(letter));
                ahead = rest.chars();
            }
            _ => {
                if let Some(class) = self.named_class()? {
                    self.out.push_str(&class);
                } else {
                    let letter = self.escaped_character()?;
                    self.push_literal(letter);
                }
                return Ok(());
            }
        }
        self.rest = ahead;
        Ok(())
    }

    /// Behind a backslash: a class that has a letter or, of Unicode, a name.
    fn named_class(&mut self) -> Result<Option<String>, String> {
        let mut ahead = self.rest.clone();
        let class = match ahead.next() {
            Some('d') => "[0-9]",
            Some('D') => "[^0-9]",
            Some('s') => "[\\t\\n\\x0C\\r ]",
            Some('S') => "[^\\t\\n\\x0C\\r ]",
            Some('w') => "[0-9A-Za-z_]",
            Some('W') => "[^0-9A-Za-z_]",
            Some(letter @ ('p' | 'P')) => {
                self.rest = ahead;
                return self.unicode_class(letter == 'P').map(Some);
            }
            _ => return Ok(None),
        };
        self.rest = ahead;
        Ok(Some(class.to_owned()))
    }

    fn unicode_class(&mut self, negated: bool) -> Result<String, String> {
        let name = match self.rest.next() {
            Some('{') => self.eat_until("}"),
            letter => letter.map(String::from),
        };
        let name = name.ok_or("invalid character class range: \\p without a name")?;
        let (name, negated) = match name.strip_prefix('^') {
            Some(name) => (name, !negated),
            None => (name.as_str(), negated),
        };
        if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
            return Err(format!("invalid character class range: \\p{{{name}}}"));
        }
        Ok(format!("\\{}{{{name}}}", if negated { 'P' } else { 'p' }))
    }

    /// Behind a backslash: one character.
    fn escaped_character(&mut self) -> Result<char, String> {
        let letter = self.rest.next().ok_or("trailing backslash at end of expression")?;
        let invalid = || format!("invalid escape sequence \\{letter}");
        let number = match letter {
            'a' => 7,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            'x' => self.hexadecimal().ok_or_else(invalid)?,
            '0'..='7' => self.octal(letter).ok_or_else(invalid)?,
            letter if letter.is_ascii_punctuation() || letter == ' ' || letter.is_ascii_control() => letter.into(),
            _ => return Err(invalid()),
        };
        char::from_u32(number).ok_or_else(invalid)
    }

    fn hexadecimal(&mut self) -> Option<u32> {
        if self.eat('{') {
            let digits = self.eat_until("}")?;
            return u32::from_str_radix(&digits, 16).ok().filter(|_| !digits.starts_with('+'));
        }
        let high = self.rest.next()?.to_digit(16)?;
        Some(16 * high + self.rest.next()?.to_digit(16)?)
    }

    /// Up to three digits; one digit that is not 0 would be a reference to a group, which Go has not.
    fn octal(&mut self, first: char) -> Option<u32> {
        let mut number = first.to_digit(8)?;
        let mut digits = 1;
        while digits < 3
            && let Some(digit) = self.rest.clone().next().and_then(|letter| letter.to_digit(8))
        {
            self.rest.next();
            number = 8 * number + digit;
            digits += 1;
        }
        (first == '0' || digits > 1).then_some(number)
    }

    /// Behind `[`. Each range is written by its numbers: the regex crate has operators inside of classes, which Go has not.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.eat('^') {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            if self.rest.as_str().is_empty() {
                return Err("missing closing ]".into());
            }
            if !first && self.eat(']') {
                self.out.push(']');
                return Ok(());
            }
            first = false;
            if let Some((name, rest)) = self.rest.as_str().strip_prefix("[:").and_then(|text| text.split_once(":]")) {
                if !POSIX_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
                    return Err(format!("invalid character class range [:{name}:]"));
                }
                self.out.push_str(&format!("[:{name}:]"));
                self.rest = rest.chars();
                continue;
            }
            let mut behind_backslash = Translation { rest: self.rest.clone(), out: String::new() };
            if behind_backslash.eat('\\')
                && let Some(class) = behind_backslash.named_class()?
            {
                self.rest = behind_backslash.rest;
                self.out.push_str(&class);
                continue;
            }
            let low = self.class_character()?;
            let mut ahead = self.rest.clone();
            let is_range = ahead.next() == Some('-') && !matches!(ahead.clone().next(), None | Some(']'));
            let high = if is_range {
                self.rest = ahead;
                self.class_character()?
            } else {
                low
            };
            if high < low {
                return Err(format!("invalid character class range {low}-{high}"));
            }
            self.out.push_str(&format!("\\x{{{:x}}}-\\x{{{:x}}}", u32::from(low), u32::from(high)));
        }
    }

    fn class_character(&mut self) -> Result<char, String> {
        match self.rest.next() {
            Some('\\') => self.escaped_character(),
            Some(letter) => Ok(letter),
            None => Err("missing closing ]".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::go_pattern_cases::{INVALID, MATCHES},
        *,
    };

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, text, matches) in MATCHES {
            let compiled = compile(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(compiled.is_match(text.as_bytes()), matches, "{pattern} in {text:?}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for pattern in INVALID {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_found_by_its_quoted_self(text in any::<String>()) {
            prop_assume!(!text.contains("\\E"));
            let quoted = format!("^\\Q{text}\\E$");
            prop_assert!(compile(&quoted).unwrap().is_match(text.as_bytes()));
        }

        #[test]
        fn any_pattern_is_compiled_or_refused(pattern in "[\\[\\](){}*+?|^$.\\\\:\\-&~a-cQEpLx0-9<>=!iU,é]{0,14}") {
            let _ = compile(&pattern);
        }
    }
}

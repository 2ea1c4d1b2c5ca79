//! Whole numbers and ranges.

/// A range of numbers with both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NumberRange {
    /// The first number.
    pub min: i128,
    /// The last number.
    pub max: i128,
}

impl NumberRange {
    /// A range of one number.
    pub fn one(number: i128) -> Self {
        Self { min: number, max: number }
    }

    /// Whether a number is in the range.
    pub fn contains(&self, number: i128) -> bool {
        (self.min..=self.max).contains(&number)
    }

    /// Whether all of the range is in `outer`.
    pub fn is_within(&self, outer: Self) -> bool {
        outer.contains(self.min) && outer.contains(self.max)
    }
}

/// A number of at most 64 bits: decimal; hexadecimal after `0x`, octal after `0o` or `0`, binary after `0b`; with a sign.
pub fn number(text: &str) -> Option<i128> {
    let text = text.trim();
    let (digits, sign) = match text.as_bytes().first()? {
        b'-' => (&text[1..], -1),
        b'+' => (&text[1..], 1),
        _ => (text, 1),
    };
    let lower = digits.to_ascii_lowercase();
    let prefixed = |prefix: &str, radix| lower.strip_prefix(prefix).map(|digits| (digits.to_owned(), radix));
    let octal = || (lower.len() > 1).then(|| prefixed("0", 8)).flatten();
    let (digits, radix) = prefixed("0x", 16)
        .or_else(|| prefixed("0b", 2))
        .or_else(|| prefixed("0o", 8))
        .or_else(octal)
        .unwrap_or((lower.clone(), 10));
    if digits.is_empty() || !digits.bytes().all(|digit| char::from(digit).is_digit(radix)) {
        return None;
    }
    let number = sign * i128::from(u64::from_str_radix(&digits, radix).ok()?);
    (number >= i128::from(i64::MIN)).then_some(number)
}

/// A range `min:max`, or a single number; the order of both ends does not matter.
pub fn range(text: &str) -> Option<NumberRange> {
    let Some((first, last)) = text.split_once(':') else { return number(text).map(NumberRange::one) };
    let (first, last) = (number(first)?, number(last)?);
    Some(NumberRange { min: first.min(last), max: first.max(last) })
}

//! Signs of Redis in the first bytes of a side, and in bytes behind a gap.

use super::commands;

/// What an array begins with.
pub(super) enum FirstElement {
    Command,
    Text,
    TooShort,
    Other,
}

/// `*2\r\n$3\r\nGET\r\n`: commands are arrays of bulk strings.
pub(super) fn first_of_array(bytes: &[u8]) -> FirstElement {
    if bytes.first() != Some(&b'*') {
        return FirstElement::Other;
    }
    let Some((count, rest)) = line(bytes) else { return too_short(bytes, 16) };
    if !count.get(1..).is_some_and(is_number) || count == b"*0" {
        return FirstElement::Other;
    }
    let Some((length, rest)) = line(rest) else {
        return match rest.first() {
            None | Some(b'$') => too_short(rest, 16),
            Some(_) => FirstElement::Other,
        };
    };
    let length = match length {
        [b'$', digits @ ..] if is_number(digits) => {
            std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok())
        }
        _ => None,
    };
    let Some(length) = length else { return FirstElement::Other };
    match rest.get(..length) {
        Some(word) if commands::is_known(word) => FirstElement::Command,
        Some(_) => FirstElement::Text,
        None if length <= commands::NAME_MAX => FirstElement::TooShort,
        None => FirstElement::Text,
    }
}

fn too_short(bytes: &[u8], at_most: usize) -> FirstElement {
    if bytes.len() < at_most { FirstElement::TooShort } else { FirstElement::Other }
}

/// Longest line that is looked at.
const LINE_MAX: usize = 64;

/// The line that begins here, without its end, and what stands behind it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).take(LINE_MAX).position(|pair| pair == b"\r\n")?;
    Some((bytes.get(..end)?, bytes.get(end + 2..)?))
}

fn is_number(digits: &[u8]) -> bool {
    (1..=10).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
}

/// `PING\r\n`: whether an inline command begins here, as far as it is there. HTTP's methods are words too.
pub(super) fn may_be_inline_command(bytes: &[u8]) -> bool {
    let text = bytes.get(..bytes.len().min(256)).unwrap_or_default();
    let end = text.iter().position(|byte| *byte == b'\n');
    let line = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
    let word = line.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
    if word.len() == line.len() && end.is_none() {
        return commands::begins_name(word);
    }
    let is_http = line.windows(5).any(|window| window == b"HTTP/");
    let printable = line.iter().all(|byte| matches!(byte, b'\t' | b'\r' | b' '..=b'~' | 0x80..));
    commands::is_known(word) && !is_http && printable && (end.is_some() || line.len() < 256)
}

/// Whether a reply may begin here.
pub(super) fn may_be_reply(bytes: &[u8]) -> bool {
    let window = bytes.get(..bytes.len().min(64)).unwrap_or_default();
    let line = line(window).map(|(line, _)| line);
    let body = line.unwrap_or(window).get(1..).unwrap_or_default();
    let digits = body.strip_prefix(b"-").unwrap_or(body);
    let number = || digits.iter().all(u8::is_ascii_digit) && digits.len() <= 20 && (line.is_some() || body.len() < 21);
    let printable = || body.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\r'));
    match bytes.first() {
        Some(b'$' | b'*' | b':' | b'%' | b'~' | b'>' | b'|' | b'=' | b'!') => number() || body == b"?",
        Some(b'+') => printable(),
        Some(b'-') => printable() && body.first().is_none_or(u8::is_ascii_uppercase),
        Some(b'_') => body.is_empty() || body == b"\r",
        Some(b'#') => matches!(body, b"" | b"t" | b"f" | b"t\r" | b"f\r"),
        Some(b',' | b'(') => printable() && body.len() < 64,
        _ => false,
    }
}

//! What filters of HTTP requests compare: statuses, and the path of a URL.

/// One status code, or all that begin with one or two digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusCodes {
    /// `404`.
    One(String),
    /// `5+`.
    StartingWith(String),
}

impl StatusCodes {
    /// `404`, `50+` or `5+`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_code = |digits: &str, lengths: &[usize]| {
            lengths.contains(&digits.len())
                && digits.starts_with(|digit| matches!(digit, '1'..='5'))
                && digits.bytes().all(|byte| byte.is_ascii_digit())
        };
        match text.strip_suffix('+') {
            Some(start) if is_code(start, &[1, 2]) => Ok(Self::StartingWith(start.to_owned())),
            None if is_code(text, &[3]) => Ok(Self::One(text.to_owned())),
            _ => Err(format!("{text} is not a status code, e.g. 404, 50+ or 5+")),
        }
    }

    /// 0 is no status: that of a request.
    pub fn contains(&self, code: u32) -> bool {
        let text = format!("{code:03}");
        code != 0
            && match self {
                Self::One(one) => *one == text,
                Self::StartingWith(start) => text.starts_with(start),
            }
    }
}

/// The decoded path of a URL, as Go's `url.ParseRequestURI` finds it; none where that fails.
pub fn path_of(url: &str) -> Option<Vec<u8>> {
    if url.is_empty() || url.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return None;
    }
    if url == "*" {
        return Some(b"*".to_vec());
    }
    let behind_scheme = behind_scheme(url)?;
    let rest = behind_scheme.unwrap_or(url);
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    if !rest.starts_with('/') {
        // E.g. `cart:443` of CONNECT has no path.
        return behind_scheme.map(|_| Vec::new());
    }
    let path = match rest.strip_prefix("//").filter(|_| behind_scheme.is_some()) {
        Some(authority) => authority.find('/').map_or("", |at| &authority[at..]),
        None => rest,
    };
    decoded(path)
}

/// What is behind the scheme, if there is one. None where the URL begins with a colon.
fn behind_scheme(url: &str) -> Option<Option<&str>> {
    for (at, byte) in url.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return None,
            b':' => return Some(Some(&url[at + 1..])),
            _ => break,
        }
    }
    Some(None)
}

/// Without percent signs; none where one of them is followed by something else than two digits.
fn decoded(path: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
            u8::try_from(high << 4 | low).ok()?
        } else {
            byte
        };
        out.push(byte);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_a_whole_code_or_its_beginning() {
        for (wanted, answer) in [("503", true), ("5+", true), ("50+", true), ("404", false), ("4+", false)] {
            assert_eq!(StatusCodes::parse(wanted).unwrap().contains(503), answer, "{wanted}");
            assert!(!StatusCodes::parse(wanted).unwrap().contains(0), "{wanted}");
        }
        for wrong in ["", "+", "5", "6+", "600", "5030", "503+", "5x+", "050", "5 3"] {
            let refusal = StatusCodes::parse(wrong).unwrap_err();
            assert!(refusal.contains("is not a status code"), "{refusal}");
        }
    }

    #[test]
    fn path_is_found_as_go_finds_it() {
        for (url, expected) in [
            ("/items?id=7", Some("/items")),
            ("/a%2Fb%20c", Some("/a/b c")),
            ("/a%zz", None),
            ("/a%2", None),
            ("http://cart", Some("")),
            ("http://cart/", Some("/")),
            ("http://cart:80/a/b?c/d", Some("/a/b")),
            ("//cart/a", Some("//cart/a")),
            ("*", Some("*")),
            ("cart:443", Some("")),
            ("items", None),
            (":80/a", None),
            ("1http://cart/a", None),
            ("/a\nb", None),
            ("", None),
        ] {
            assert_eq!(path_of(url).map(|path| String::from_utf8(path).unwrap()).as_deref(), expected, "{url:?}");
        }
    }
}

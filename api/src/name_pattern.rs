//! Patterns of names in DNS, as Hubble's filters have them: whole names, where `*` stands for any letters, digits, hyphens and dots.

/// A pattern, in lower case and without its last dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern(String);

impl NamePattern {
    /// `*.example.com`, in any case, with or without a last dot.
    pub fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let pattern = trimmed.strip_suffix('.').unwrap_or(trimmed).to_lowercase();
        if pattern.is_empty() || pattern.ends_with('.') {
            return Err(format!("{text:?} is no name in DNS, e.g. *.example.com"));
        }
        let is_known = |letter: &char| matches!(letter, '.' | '*' | '-' | '_' | '0'..='9' | 'a'..='z');
        match pattern.chars().find(|letter| !is_known(letter)) {
            Some(letter) => Err(format!("{text:?} holds {letter:?}, which names in DNS do not contain")),
            None => Ok(Self(pattern)),
        }
    }

    /// Whether it is this name, which has no last dot.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.as_bytes();
        // `reached[at]`: the pattern so far stands for the first `at` bytes.
        let mut reached = vec![false; name.len() + 1];
        reached[0] = true;
        for wanted in self.0.bytes() {
            if wanted == b'*' {
                for at in 0..name.len() {
                    reached[at + 1] |= reached[at] && matches!(name[at], b'-' | b'.' | b'0'..=b'9' | b'a'..=b'z');
                }
            } else {
                for at in (0..name.len()).rev() {
                    reached[at + 1] = reached[at] && name[at] == wanted;
                }
                reached[0] = false;
            }
        }
        reached[name.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_is_a_whole_name_with_stars() {
        for (pattern, name, answer) in [
            ("shop.example.com", "shop.example.com", true),
            (" Shop.Example.COM. ", "shop.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*example.com", "example.com", true),
            ("*", "", true),
            ("s*p.*.com", "shop.example.com", true),
            ("**", "shop", true),
            ("example.com", "shop.example.com", false),
            ("shop.example", "shop.example.com", false),
            ("shop-example-com", "shop.example.com", false),
            ("*tcp.example.com", "_tcp.example.com", false),
            ("_*.example.com", "_tcp.example.com", true),
            ("*", "Shop", false),
        ] {
            assert_eq!(NamePattern::parse(pattern).unwrap().matches(name), answer, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for wrong in ["", ".", " ", "a..", "a b", "ä", "a?"] {
            assert!(NamePattern::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}

//! Colors for a terminal, and escaping of untrusted text: any user of a pod chooses names of processes.

use std::fmt::Write;

/// ANSI colors, or none.
#[derive(Clone, Copy)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    pub(crate) fn blue(self, text: &str) -> String {
        self.wrap("34", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub(crate) fn magenta(self, text: &str) -> String {
        self.wrap("35", text)
    }

    pub(crate) fn cyan(self, text: &str) -> String {
        self.wrap("36", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.wrap("31", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }
}

/// In quotes if the text contains blanks or control characters, which are escaped.
pub(crate) fn quoted(text: &str) -> String {
    if text.contains(|c: char| c == '"' || c.is_whitespace() || c.is_control()) {
        format!("\"{}\"", plain(&text.replace('\\', "\\\\").replace('"', "\\\"")))
    } else {
        text.into()
    }
}

/// With control characters escaped; blanks stay.
pub(crate) fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            '\r' => safe.push_str("\\r"),
            c if c.is_control() => {
                // Into a String this cannot fail.
                let _ = write!(safe, "\\x{:02x}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_control_the_terminal() {
        assert_eq!(quoted("/bin/\x1b[2Jrm"), "\"/bin/\\x1b[2Jrm\"");
        assert_eq!(plain("a b\nc"), "a b\\nc");
        assert_eq!(quoted("/usr/bin/curl"), "/usr/bin/curl");
        assert_eq!(quoted("/tmp/a b"), "\"/tmp/a b\"");
    }

    #[test]
    fn no_colors_without_a_terminal() {
        assert_eq!(Paint(false).blue("x"), "x");
        assert_eq!(Paint(true).blue("x"), "\x1b[34mx\x1b[0m");
    }
}

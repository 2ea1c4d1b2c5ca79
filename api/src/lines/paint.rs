//! Colors for a terminal.

/// ANSI colors, or none.
#[derive(Clone, Copy)]
pub struct Paint(
    /// Whether there are colors.
    pub bool,
);

#[allow(missing_docs, reason = "the names of the colors say it")]
impl Paint {
    pub fn blue(self, text: &str) -> String {
        self.wrap("34", text)
    }

    pub fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub fn magenta(self, text: &str) -> String {
        self.wrap("35", text)
    }

    pub fn cyan(self, text: &str) -> String {
        self.wrap("36", text)
    }

    pub fn red(self, text: &str) -> String {
        self.wrap("31", text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_colors_without_a_terminal() {
        assert_eq!(Paint(false).blue("x"), "x");
        assert_eq!(Paint(true).blue("x"), "\x1b[34mx\x1b[0m");
    }
}

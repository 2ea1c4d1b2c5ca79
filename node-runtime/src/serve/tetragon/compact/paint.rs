//! Colors of a terminal.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    Colours,
    Plain,
}

impl Paint {
    pub(super) fn red(self, text: &str) -> String {
        self.paint(31, text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.paint(32, text)
    }

    pub(super) fn yellow(self, text: &str) -> String {
        self.paint(33, text)
    }

    pub(super) fn blue(self, text: &str) -> String {
        self.paint(34, text)
    }

    pub(super) fn magenta(self, text: &str) -> String {
        self.paint(35, text)
    }

    pub(super) fn cyan(self, text: &str) -> String {
        self.paint(36, text)
    }

    fn paint(self, colour: u8, text: &str) -> String {
        match self {
            Self::Colours => format!("\x1b[{colour}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

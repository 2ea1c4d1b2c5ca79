//! ErrorResponse: a severity, a SQLSTATE and texts.

use super::wire::text_of;
use crate::redact;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ServerError {
    severity: String,
    /// SQLSTATE.
    pub(super) code: String,
    message: String,
    detail: String,
    /// The server's function that reported it.
    routine: String,
}

impl ServerError {
    pub(super) fn parse(body: &[u8]) -> Self {
        let mut error = Self::default();
        let mut rest = body;
        while let [field, behind @ ..] = rest
            && *field != 0
        {
            let (text, next) = text_of(behind);
            let text = || String::from_utf8_lossy(text).into_owned();
            match field {
                // The untranslated severity stands behind the translated one.
                b'S' | b'V' => error.severity = text(),
                b'C' => error.code = text(),
                b'M' => error.message = text(),
                b'D' => error.detail = text(),
                b'R' => error.routine = text(),
                _ => {}
            }
            rest = next;
        }
        error
    }

    /// Overwrites in the message what `shown` leaves out.
    pub(super) fn mask_message(&self, message: &mut [u8]) {
        redact::mask_pgsql_error(&self.code, &self.routine, message);
    }

    /// `ERROR: relation "x" does not exist`; with its detail only if values are kept.
    pub(super) fn shown(&self, keep_literals: bool) -> String {
        let Self { severity, message, detail, .. } = self;
        if !keep_literals {
            return format!("{severity}: {}", redact::pgsql_error(&self.code, &self.routine, message));
        }
        match detail.is_empty() {
            true => format!("{severity}: {message}"),
            false => format!("{severity}: {message}; {detail}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_only_if_kept() {
        let body = b"SFEHLER\0VERROR\0C22P02\0Minvalid input syntax for type integer: \"secret\"\0DKey (a)=(secret)\0Rpg_strtoint32\0\0";
        let error = ServerError::parse(body);
        assert_eq!(error.code, "22P02");
        assert_eq!(error.shown(false), "ERROR: invalid input syntax for type integer: \"<redacted>\"");
        assert_eq!(error.shown(true), "ERROR: invalid input syntax for type integer: \"secret\"; Key (a)=(secret)");
        // Cut anywhere, it is shown as far as it goes.
        for end in 0..body.len() {
            assert!(!ServerError::parse(&body[..end]).shown(false).contains("secret"), "{end}");
        }
    }
}

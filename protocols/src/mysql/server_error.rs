//! ERR packets: a number, a SQLSTATE and a text.

use super::wire::le16;
use crate::redact;

/// MariaDB sends progress in packets that look like errors.
const PROGRESS: u16 = 0xffff;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerError {
    /// E.g. 1146.
    pub(super) code: u16,
    /// SQLSTATE; empty before the login.
    pub(super) sql_state: String,
    message: String,
}

impl ServerError {
    /// From a payload that begins with 0xff.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let code = le16(body, 1)?;
        let (sql_state, message) = Self::split(body.get(3..).unwrap_or_default());
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Some(Self { code, sql_state: text(sql_state), message: text(message) })
    }

    /// `#42S02`, and the text behind it.
    fn split(rest: &[u8]) -> (&[u8], &[u8]) {
        match rest.split_at_checked(6) {
            Some(([b'#', sql_state @ ..], message)) => (sql_state, message),
            _ => (&[], rest),
        }
    }

    /// Whether it says how far a statement has come, and is no error.
    pub(super) fn is_progress(&self) -> bool {
        self.code == PROGRESS
    }

    /// The text as it may be shown.
    pub(super) fn shown(&self, keep_literals: bool) -> String {
        if keep_literals {
            return self.message.clone();
        }
        redact::mysql_error(self.code, &self.sql_state, &self.message)
    }

    /// Overwrites in a payload what `shown` leaves out.
    pub(super) fn mask(body: &mut [u8]) {
        let Some(error) = Self::parse(body) else { return };
        let behind = if error.sql_state.is_empty() { 3 } else { 9 };
        let message = body.get_mut(behind..).unwrap_or_default();
        redact::mask_mysql_error(error.code, &error.sql_state, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_a_state_only_behind_the_login() {
        let error = ServerError::parse(b"\xff\x7a\x04#42S02Table 'shop.x' doesn't exist").unwrap();
        assert_eq!((error.code, &*error.sql_state), (1146, "42S02"));
        assert_eq!(error.shown(false), "Table 'shop.x' doesn't exist");
        let refused = ServerError::parse(b"\xff\x10\x04Too many connections").unwrap();
        assert_eq!(
            (refused.code, &*refused.sql_state, refused.shown(false)),
            (1040, "", "Too many connections".into())
        );
        assert!(ServerError::parse(b"\xff\xff\xff\x01\x01\x02").unwrap().is_progress());
        assert_eq!(ServerError::parse(b"\xff\x10"), None);
    }
}

//! Texts of MySQL's and MariaDB's errors without the values in them.

use super::REDACTED;
use super::error_text::{mask_between, mask_numbers, replace_between, replace_numbers};
use crate::mask::fill;

/// Errors whose texts quote names of databases, tables, columns, keys and functions, and no values; with the SQLSTATE that the
/// server gives them, since SIGNAL may name any number.
const NAMING_ERRORS: [(u16, &str); 26] = [
    (1007, "HY000"),
    (1008, "HY000"),
    (1046, "3D000"),
    (1048, "23000"),
    (1049, "42000"),
    (1050, "42S01"),
    (1051, "42S02"),
    (1052, "23000"),
    (1054, "42S22"),
    (1055, "42000"),
    (1060, "42S21"),
    (1061, "42000"),
    (1066, "42000"),
    (1072, "42000"),
    (1091, "42000"),
    (1109, "42S02"),
    (1146, "42S02"),
    (1176, "42000"),
    (1193, "HY000"),
    (1205, "HY000"),
    (1213, "40001"),
    (1305, "42000"),
    (1364, "HY000"),
    (1451, "23000"),
    (1452, "23000"),
    (1792, "25006"),
];

const QUOTES: [char; 3] = ['\'', '"', '`'];

/// The text of an error as it may be shown. What it quotes is a value, unless its number says that it is a name.
pub fn mysql_error(code: u16, sql_state: &str, message: &str) -> String {
    if is_of_a_program(code, sql_state) {
        return REDACTED.to_owned();
    }
    if quotes_names(code, sql_state) {
        return message.to_owned();
    }
    let mut text = message.to_owned();
    // From the first to the last: a value may have quotes in it.
    replace_between(&mut text, &QUOTES, &QUOTES);
    replace_numbers(&text)
}

/// Overwrites in a text what `mysql_error` does not show.
pub(crate) fn mask_mysql_error(code: u16, sql_state: &str, message: &mut [u8]) {
    if is_of_a_program(code, sql_state) || std::str::from_utf8(message).is_err() {
        return fill(message);
    }
    if !quotes_names(code, sql_state) {
        mask_between(message, &QUOTES, &QUOTES);
        mask_numbers(message);
    }
}

/// SIGNAL has a text of its own.
fn is_of_a_program(code: u16, sql_state: &str) -> bool {
    matches!(code, 0 | 1642..=1644 | 10_000..) || sql_state.starts_with("45")
}

fn quotes_names(code: u16, sql_state: &str) -> bool {
    NAMING_ERRORS.contains(&(code, sql_state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_errors_are_redacted() {
        for (code, state, message, shown) in [
            (1062, "23000", "Duplicate entry 'secret' for key 'PRIMARY'", "Duplicate entry '<redacted>'"),
            (1146, "42S02", "Table 'shop.x' doesn't exist", "Table 'shop.x' doesn't exist"),
            (1146, "45000", "bob's money is gone", REDACTED),
            (1644, "45000", "bob has no money", REDACTED),
            (1064, "42000", "syntax to use near 'secret 'x'' at line 12", "syntax to use near '<redacted>' at line ?"),
            (1045, "28000", "Access denied for user 'bob'@'10.0.0.7'", "Access denied for user '<redacted>'"),
            (1040, "", "Too many connections", "Too many connections"),
        ] {
            assert_eq!(mysql_error(code, state, message), shown);
            let mut masked = message.as_bytes().to_vec();
            mask_mysql_error(code, state, &mut masked);
            assert_eq!(masked.len(), message.len());
            assert!(!masked.windows(6).any(|part| part == b"secret"));
            assert_eq!(mysql_error(code, state, std::str::from_utf8(&masked).unwrap()), shown);
        }
    }
}

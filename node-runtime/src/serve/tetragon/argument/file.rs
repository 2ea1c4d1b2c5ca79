//! Flags and permission of files, as `file_arg`, `path_arg` and `linux_binprm_arg` show them.

/// The flag of a path whose first components are missing.
pub(super) const CUT: &str = "unresolvedPathComponents";

const FORMAT: u16 = 0o170_000;
const SET_UID: u16 = 0o4000;
const SET_GID: u16 = 0o2000;
const STICKY: u16 = 0o1000;

/// `st_mode` as `ls` prints it; without a first character for a type of file that has none.
pub(super) fn permission(mode: u16) -> String {
    let mut text = String::with_capacity(10);
    text.extend(match mode & FORMAT {
        0o140_000 => Some('s'),
        0o120_000 => Some('l'),
        0o100_000 => Some('-'),
        0o060_000 => Some('b'),
        0o040_000 => Some('d'),
        0o020_000 => Some('c'),
        0o010_000 => Some('p'),
        _ => None,
    });
    for (shift, special, letter) in [(6, SET_UID, 's'), (3, SET_GID, 's'), (0, STICKY, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (bits & 1 == 1, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_is_printed_as_ls_does() {
        for (mode, text) in [
            (0o100_755, "-rwxr-xr-x"),
            (0o104_755, "-rwsr-xr-x"),
            (0o102_644, "-rw-r-Sr--"),
            (0o041_777, "drwxrwxrwt"),
            (0o041_776, "drwxrwxrwT"),
            (0o140_600, "srw-------"),
            (0o120_777, "lrwxrwxrwx"),
            (0, "---------"),
        ] {
            assert_eq!(permission(mode), text, "{mode:o}");
        }
    }
}

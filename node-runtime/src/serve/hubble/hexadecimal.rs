//! Bytes as hexadecimal text.

/// Without std's formatting, which is a tenth of a flow's cost where each has a uuid, two MACs and a connection.
pub(super) fn append_hex(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)].into());
        out.push(DIGITS[usize::from(byte & 15)].into());
    }
}

//! The bytes of packets: headers, numbers, texts.

/// Length of three bytes, and the packet's number.
pub(super) const HEADER: usize = 4;
/// A packet of this length is continued by the next one.
pub(super) const FULL: u32 = 0xff_ffff;

/// Which end sends the packets of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Server,
}

/// Whether a packet begins here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    No,
    /// There are too few bytes.
    More,
    Yes,
}

/// Length and number of the packet that begins here.
pub(super) fn header_of(bytes: &[u8]) -> Option<(u32, u8)> {
    let [low, middle, high, sequence] = *bytes.first_chunk()?;
    Some((u32::from_le_bytes([low, middle, high, 0]), sequence))
}

pub(super) fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|two| u16::from_le_bytes(*two))
}

pub(super) fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four))
}

/// A number of one to nine bytes, and how many it takes.
pub(super) fn length_encoded(bytes: &[u8]) -> Option<(u64, usize)> {
    let width = match *bytes.first()? {
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        // NULL, and the first byte of an error.
        0xfb | 0xff => return None,
        small => return Some((small.into(), 1)),
    };
    let mut number = [0; 8];
    number.get_mut(..width)?.copy_from_slice(bytes.get(1..1 + width)?);
    Some((u64::from_le_bytes(number), 1 + width))
}

/// The text up to the next NUL.
pub(super) fn text_of(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_to_nine_bytes() {
        for (bytes, number) in [
            (&[250][..], Some((250, 1))),
            (&[0xfc, 1, 2], Some((0x0201, 3))),
            (&[0xfd, 1, 2, 3], Some((0x03_0201, 4))),
            (&[0xfe, 1, 0, 0, 0, 0, 0, 0, 1], Some(((1 << 56) + 1, 9))),
            (&[0xfc, 1], None),
            (&[0xfb], None),
            (&[0xff, 0, 0], None),
            (&[], None),
        ] {
            assert_eq!(length_encoded(bytes), number, "{bytes:?}");
        }
    }
}

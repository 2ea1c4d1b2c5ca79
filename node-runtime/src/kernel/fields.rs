//! Reads the fields of a record by their offsets, out of bytes that may be too short.

/// Bytes of one record.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// Sixteen bits at an offset.
    pub fn u16(&self, at: usize) -> Option<u16> {
        Some(u16::from_ne_bytes(self.array(at)?))
    }

    /// Thirty-two bits at an offset.
    pub fn u32(&self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(self.array(at)?))
    }

    /// Sixty-four bits at an offset.
    pub fn u64(&self, at: usize) -> Option<u64> {
        Some(u64::from_ne_bytes(self.array(at)?))
    }

    /// Several numbers of thirty-two bits.
    pub fn u32s<const N: usize>(&self, at: usize) -> Option<[u32; N]> {
        let mut numbers = [0; N];
        for (index, number) in numbers.iter_mut().enumerate() {
            *number = self.u32(at + 4 * index)?;
        }
        Some(numbers)
    }

    /// So many bytes at an offset.
    pub fn bytes(&self, at: usize, length: usize) -> Option<&'a [u8]> {
        self.0.get(at..at.checked_add(length)?)
    }

    /// As many bytes at an offset as the type says.
    pub fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes(at, N)?.try_into().ok()
    }
}

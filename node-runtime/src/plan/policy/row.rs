//! A row of selector bits.

/// A set of selectors, `width` words.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row(pub Vec<u64>);

impl Row {
    pub fn empty(words: usize) -> Self {
        Self(vec![0; words])
    }

    pub fn add(&mut self, bit: u16) {
        self.set(bit, true);
    }

    /// A bit beyond the row is no selector of its hook.
    pub fn set(&mut self, bit: u16, is_set: bool) {
        if let Some(word) = self.0.get_mut(usize::from(bit) / 64) {
            let mask = 1 << (bit % 64);
            *word = if is_set { *word | mask } else { *word & !mask };
        }
    }

    pub(super) fn flip(&mut self, bit: u16) {
        self.set(bit, !self.has(bit));
    }

    pub fn has(&self, bit: u16) -> bool {
        self.0.get(usize::from(bit) / 64).is_some_and(|word| word >> (bit % 64) & 1 != 0)
    }

    pub fn add_all(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    /// Its bits, upwards.
    pub fn bits(&self) -> impl Iterator<Item = u16> + '_ {
        (0_u16..)
            .zip(self.0.iter().flat_map(|word| (0..64).map(move |bit| word >> bit & 1 != 0)))
            .filter(|(_, is_set)| *is_set)
            .map(|(bit, _)| bit)
    }
}

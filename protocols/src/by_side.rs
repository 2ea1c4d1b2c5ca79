//! `BySide`: a value for each direction of a connection.

use crate::Side;

#[derive(Clone, Copy, Default)]
pub(crate) struct BySide<T> {
    pub(crate) sent: T,
    pub(crate) received: T,
}

impl<T> BySide<T> {
    pub(crate) fn of(&self, side: Side) -> &T {
        match side {
            Side::Sent => &self.sent,
            Side::Received => &self.received,
        }
    }

    pub(crate) fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Sent => &mut self.sent,
            Side::Received => &mut self.received,
        }
    }
}

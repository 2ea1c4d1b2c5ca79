//! Input of all targets: a byte of flags (role, transport, joined), then pieces: a byte of flags (side, gap before, gap
//! behind), a byte of length, bytes.

use trilobite_protocols::{Connection, Name, Role, Settings, Side, Transport};

pub fn play(name: Name, data: &[u8]) {
    let Some((flags, mut rest)) = data.split_first() else { return };
    let role = [None, Some(Role::Client), Some(Role::Server), None][usize::from(flags & 3)];
    let transport = if flags & 4 == 0 { Transport::Stream } else { Transport::Datagram };
    let settings = Settings { payload_bytes: usize::from(flags >> 4), masks: true, ..Settings::default() };
    let mut connection = Connection::new(role, transport, flags & 8 != 0, &[name], &settings);
    let (mut positions, mut time) = ([0u64; 2], 1);
    while let [flags, length, bytes @ ..] = rest {
        let (piece, behind) = bytes.split_at(bytes.len().min(usize::from(*length)));
        let side = if flags & 1 == 0 { Side::Sent } else { Side::Received };
        let position = &mut positions[usize::from(flags & 1)];
        *position += u64::from((flags >> 1) & 7);
        let whole = piece.len() as u64 + u64::from(flags >> 4);
        connection.push(side, *position, piece, whole, time);
        while connection.take_exchange().is_some() {}
        connection.take_masked();
        *position += whole;
        time += 1_000_000;
        rest = behind;
    }
    connection.finish(time);
    while connection.take_exchange().is_some() {}
    assert!(connection.memory() < 5 << 20);
}

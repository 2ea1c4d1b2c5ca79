//! Signs of MySQL in bytes that may begin anywhere: by them a connection is recognised, and a command found after a gap.

use super::command::Command;
use super::statement_text::begins_statement;
use super::wire::{FULL, HEADER, Sign, header_of, le16, le32, length_encoded};

/// Number of the protocol since 1998.
pub(super) const PROTOCOL: u8 = 10;
/// Bytes of a login that all clients have: flags, sizes, 19 zeros, and MariaDB's flags.
pub(super) const LOGIN_BYTES: usize = 32;
const PROTOCOL_41: u32 = 0x0200;

fn sign(is: bool) -> Sign {
    if is { Sign::Yes } else { Sign::No }
}

/// The server's first packet: its protocol, and its version as text.
pub(super) fn greeting(bytes: &[u8]) -> Sign {
    let Some((length, sequence)) = header_of(bytes) else {
        return if bytes.get(1).is_none_or(|byte| *byte <= 3) { Sign::More } else { Sign::No };
    };
    if sequence != 0 || !(32..1024).contains(&length) {
        return Sign::No;
    }
    let [protocol, version @ ..] = bytes.get(HEADER..).unwrap_or_default() else { return Sign::More };
    if *protocol != PROTOCOL {
        return Sign::No;
    }
    let text = version.iter().take_while(|byte| **byte != 0);
    let is_version = text.clone().all(u8::is_ascii_graphic) && version.first().is_none_or(u8::is_ascii_digit);
    match text.count() {
        _ if !is_version => Sign::No,
        length if length == version.len() => {
            if length < 64 {
                Sign::More
            } else {
                Sign::No
            }
        }
        length => sign((3..64).contains(&length)),
    }
}

/// The client's first packet: flags, and 19 zeros. The request for TLS ends behind them.
pub(super) fn login(bytes: &[u8]) -> Sign {
    let Some((length, sequence)) = header_of(bytes) else { return Sign::More };
    // Behind a request for TLS it is the third packet of the connection.
    if !matches!(sequence, 1 | 2) || !(LOGIN_BYTES as u32..4096).contains(&length) {
        return Sign::No;
    }
    let payload = bytes.get(HEADER..).unwrap_or_default();
    let zeros = payload.get(9..payload.len().min(28)).unwrap_or_default();
    if zeros.iter().any(|byte| *byte != 0) || le32(payload, 0).is_some_and(|flags| flags & PROTOCOL_41 == 0) {
        return Sign::No;
    }
    if payload.len() < LOGIN_BYTES { Sign::More } else { Sign::Yes }
}

/// An error instead of a greeting, e.g. that there are too many connections.
pub(super) fn refusal(bytes: &[u8]) -> Sign {
    if bytes.get(3..5).is_some_and(|start| start != [0, 0xff]) {
        return Sign::No;
    }
    let (Some((length, sequence)), Some(code)) = (header_of(bytes), le16(bytes, HEADER + 1)) else { return Sign::More };
    sign(
        sequence == 0 && (4..600).contains(&length) && bytes.get(HEADER) == Some(&0xff) && (1000..5000).contains(&code),
    )
}

/// A command whose length and body agree. Those without a form (parameters, passwords) are never believed.
pub(super) fn command(bytes: &[u8]) -> Sign {
    let Some((length, sequence)) = header_of(bytes) else {
        // A number of a command is 0: what is text is refused at once.
        return Sign::More;
    };
    if sequence != 0 || length == 0 {
        return Sign::No;
    }
    let Some((first, rest)) = bytes.get(HEADER..).unwrap_or_default().split_first() else { return Sign::More };
    let Some(command) = Command::from_byte(*first) else { return Sign::No };
    match command {
        Command::Query | Command::Prepare => begins_statement(rest, length as usize - 1),
        // Its id, flags, and the number of executions, which is 1.
        Command::Execute if (10..FULL).contains(&length) => match (rest.get(4), le32(rest, 5)) {
            (Some(flags), _) if *flags > 0x0f => Sign::No,
            (_, Some(executions)) => sign(executions == 1),
            _ => Sign::More,
        },
        Command::CloseStatement | Command::ResetStatement => sign(length == 5),
        Command::Fetch => sign(length == 9),
        Command::SetOption => sign(length == 3),
        Command::Quit
        | Command::Ping
        | Command::Statistics
        | Command::ProcessInfo
        | Command::Debug
        | Command::ResetConnection => sign(length == 1),
        Command::InitDb if length <= 193 => {
            let name = rest.get(..rest.len().min(length as usize - 1)).unwrap_or_default();
            match name.iter().all(|byte| byte.is_ascii_graphic() || *byte >= 0x80) {
                true if name.len() + 1 == length as usize => sign(!name.is_empty()),
                true => Sign::More,
                false => Sign::No,
            }
        }
        _ => Sign::No,
    }
}

/// Only the header of a command: servers receive it by a call of its own.
pub(super) fn is_command_header(bytes: &[u8]) -> bool {
    bytes.len() == HEADER
        && header_of(bytes).is_some_and(|(length, sequence)| sequence == 0 && (1..1 << 20).contains(&length))
}

/// The command has a body that no other protocol has.
pub(super) fn is_certain(bytes: &[u8]) -> bool {
    matches!(
        bytes.get(HEADER).copied().and_then(Command::from_byte),
        Some(Command::Query | Command::Prepare | Command::Execute)
    )
}

/// An error with its SQLSTATE, or the columns of a result.
pub(super) fn certain_answer(bytes: &[u8]) -> Sign {
    let Some((length, sequence)) = header_of(bytes) else { return Sign::More };
    if sequence != 1 {
        return Sign::No;
    }
    let payload = bytes.get(HEADER..).unwrap_or_default();
    match (payload.first(), length) {
        (None, 1..) => Sign::More,
        (Some(0xff), 10..600) => match payload.get(1..9) {
            Some([low, high, b'#', state @ ..]) => {
                let code = u16::from_le_bytes([*low, *high]);
                sign((1000..10_000).contains(&code) && state.iter().all(u8::is_ascii_alphanumeric))
            }
            Some(_) => Sign::No,
            None => Sign::More,
        },
        // The number of columns, and the first of them, which begins with its catalogue: def.
        (Some(1..=0xfa), 1 | 2) => {
            let Some(column) = payload.get(length as usize..) else { return Sign::More };
            match (header_of(column), column.get(HEADER..HEADER + 4)) {
                (Some((_, 2)), Some(catalogue)) => sign(catalogue == b"\x03def"),
                (Some((_, 2)) | None, None) => Sign::More,
                _ => Sign::No,
            }
        }
        _ => Sign::No,
    }
}

/// OK: two numbers, flags and a count of warnings.
pub(super) fn may_be_status(bytes: &[u8]) -> bool {
    let Some((length, 1)) = header_of(bytes) else { return false };
    let payload = bytes.get(HEADER..).unwrap_or_default();
    let numbers = payload.get(1..).and_then(|rest| {
        let (_, rows) = length_encoded(rest)?;
        let (_, id) = length_encoded(rest.get(rows..)?)?;
        le16(rest, rows + id)
    });
    (7..600).contains(&length) && payload.first() == Some(&0) && numbers.is_some()
}

//! The name of a command and its keys, as they are shown. Values are shown only if literals are kept, credentials never.

use std::borrow::Cow;

use super::commands::{self, Keys, NAME_MAX};
use super::value::{Leaf, Value};

/// Bytes of the arguments that are shown.
const ARGUMENTS_MAX: usize = 1024;

/// Commands whose arguments may be credentials.
const WITH_CREDENTIALS: [&str; 8] = ["ACL", "AUTH", "CONFIG", "DEBUG", "HELLO", "MIGRATE", "REPLCONF", "SENTINEL"];

/// The word behind which the keys of XREAD stand.
const STREAMS: &[u8] = b"STREAMS";
/// What may stand behind CLIENT REPLY.
const REPLY_MODES: [&[u8]; 3] = [b"ON", b"OFF", b"SKIP"];

/// The command's name, and its arguments as they may be shown; none: this is no command.
pub(super) fn describe(value: &Value, keep_literals: bool) -> Option<(Cow<'static, str>, String)> {
    let Call { name, keys, arguments, total } = Call::new(value)?;
    let shown = if keep_literals && !has_credentials(&name) {
        join(arguments.iter(), arguments.len() < total)
    } else {
        let indexes = keys_of(keys, arguments, total);
        let missing = indexes.last().is_some_and(|last| *last >= arguments.len());
        join(indexes.iter().filter_map(|index| arguments.get(*index)), missing)
    };
    Some((name, shown))
}

/// Whether the row of a command, which may still be arriving, shows its last string so far, or its other arguments cannot be told
/// apart without it.
pub(super) fn shows_last(value: &Value, keep_literals: bool) -> bool {
    let Some(Call { name, keys, arguments, total }) = Call::new(value) else { return false };
    if value.leaf_count > value.leaves.len() as u64 {
        return false;
    }
    // The command's name, of one or two words.
    let Some((last, index)) = arguments.last().zip(arguments.len().checked_sub(1)) else { return true };
    let is_counter = |at: usize| index == at && number(last).is_some_and(|number| number <= total);
    keep_literals && !has_credentials(&name)
        || keys_of(keys, arguments, total).contains(&index)
        || match keys {
            Keys::Counted(at) => is_counter(at),
            Keys::FirstAndCounted => is_counter(1),
            Keys::Streams => last.text.eq_ignore_ascii_case(STREAMS),
            _ => name == "CLIENT REPLY" && REPLY_MODES.iter().any(|mode| last.text.eq_ignore_ascii_case(mode)),
        }
}

/// A command's name and arguments.
struct Call<'a> {
    name: Cow<'static, str>,
    keys: Keys,
    arguments: &'a [Leaf],
    /// Arguments that were sent; fewer may be known.
    total: usize,
}

impl<'a> Call<'a> {
    /// None: this is no command.
    fn new(value: &'a Value) -> Option<Self> {
        let [name, arguments @ ..] = value.leaves.as_slice() else { return None };
        let (name, keys) = match commands::find(&name.text) {
            Some((name, keys)) => (Cow::Borrowed(name), keys),
            None => {
                let name = plausible_name(name)?;
                // A module's commands have a dot in their names and their key first, e.g. JSON.GET. Of others nothing is known.
                let keys = if name.contains('.') { Keys::First } else { Keys::None };
                (Cow::Owned(name), keys)
            }
        };
        let sent = value.count.unwrap_or_default().max(value.leaf_count);
        let total = usize::try_from(sent.saturating_sub(1)).unwrap_or(usize::MAX);
        let (name, keys, arguments, total) = match (keys, arguments) {
            (Keys::Sub(keys), [sub, rest @ ..]) => match plausible_name(sub) {
                Some(sub) => (Cow::Owned(format!("{name} {sub}")), *keys, rest, total.saturating_sub(1)),
                None => (name, Keys::None, arguments, total),
            },
            (Keys::Sub(_), []) => (name, Keys::None, arguments, total),
            (keys, _) => (name, keys, arguments, total),
        };
        Some(Self { name, keys, arguments, total })
    }
}

/// A credential may be among the command's arguments.
fn has_credentials(name: &str) -> bool {
    WITH_CREDENTIALS.contains(&name.split(' ').next().unwrap_or_default())
}

fn plausible_name(leaf: &Leaf) -> Option<String> {
    let is_name = (1..=NAME_MAX).contains(&leaf.text.len())
        && leaf.text.first().is_some_and(u8::is_ascii_alphabetic)
        && leaf.text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    is_name.then(|| String::from_utf8_lossy(&leaf.text).to_ascii_uppercase())
}

/// Indexes of the keys among a command's arguments, of which `total` were sent and fewer may be known.
fn keys_of(keys: Keys, arguments: &[Leaf], total: usize) -> Vec<usize> {
    // One more than is known says that there are more.
    let bound = |end: usize| end.min(total).min(arguments.len() + 1);
    let counted = |at: usize| {
        let number = arguments.get(at).and_then(number);
        at + 1..bound(number.map_or(0, |number| at.saturating_add(1).saturating_add(number)))
    };
    match keys {
        Keys::None | Keys::Sub(_) => Vec::new(),
        Keys::First => (0..bound(1)).collect(),
        Keys::FirstTwo => (0..bound(2)).collect(),
        Keys::Third => (2..bound(3)).collect(),
        Keys::All => (0..bound(total)).collect(),
        Keys::AllButLast => (0..bound(total.saturating_sub(1))).collect(),
        Keys::EverySecond => (0..bound(total)).step_by(2).collect(),
        Keys::AllBehindFirst => (1..bound(total)).collect(),
        Keys::Counted(at) => counted(at).collect(),
        Keys::FirstAndCounted => std::iter::once(0).chain(counted(1)).collect(),
        Keys::Streams => match arguments.iter().position(|leaf| leaf.text.eq_ignore_ascii_case(STREAMS)) {
            Some(at) => (at + 1..bound(at + 1 + total.saturating_sub(at + 1) / 2)).collect(),
            None => Vec::new(),
        },
    }
}

fn number(leaf: &Leaf) -> Option<usize> {
    std::str::from_utf8(&leaf.text).ok()?.parse().ok()
}

fn join<'a>(leaves: impl Iterator<Item = &'a Leaf>, missing: bool) -> String {
    let mut out = String::new();
    for leaf in leaves {
        if !out.is_empty() {
            out.push(' ');
        }
        if out.len() > ARGUMENTS_MAX {
            out.push_str("...");
            return out;
        }
        let text = String::from_utf8_lossy(&leaf.text);
        let is_plain = !text.is_empty() && !text.contains([' ', '"', '\n', '\r', '\t']);
        match is_plain {
            true => out.push_str(&text),
            false => out.push_str(&format!("{text:?}")),
        }
        if leaf.length > leaf.text.len() as u64 {
            out.push_str("...");
        }
    }
    if missing {
        out.push_str(if out.is_empty() { "..." } else { " ..." });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Times;
    use crate::redis::value::{Decoded, Decoder};

    fn shown(line: &str, keep_literals: bool) -> (String, String) {
        let mut decoder = Decoder::new(true, 0);
        match decoder.decode(format!("{line}\r\n").as_bytes(), Times::default()) {
            Decoded::Value(_, value) => {
                let (name, arguments) = describe(&value, keep_literals).unwrap();
                (name.into_owned(), arguments)
            }
            _ => panic!("{line}"),
        }
    }

    #[test]
    fn keys_are_shown_and_values_are_not() {
        for (line, name, arguments) in [
            ("get user:1", "GET", "user:1"),
            ("SET user:1 secret EX 10", "SET", "user:1"),
            ("MSET a secret b secret", "MSET", "a b"),
            ("DEL a b c", "DEL", "a b c"),
            ("BLPOP a b 10", "BLPOP", "a b"),
            ("EVAL secret 2 a b secret", "EVAL", "a b"),
            ("EVAL secret 99999999999999999999 a", "EVAL", ""),
            ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", "ZUNIONSTORE", "d a b"),
            ("XREADGROUP GROUP g c COUNT 2 STREAMS a b > 0-1", "XREADGROUP", "a b"),
            ("BITOP AND d a b", "BITOP", "d a b"),
            ("MIGRATE h 6379 a 0 100 AUTH secret", "MIGRATE", "a"),
            ("OBJECT ENCODING a", "OBJECT ENCODING", "a"),
            ("CONFIG SET requirepass secret", "CONFIG SET", ""),
            ("AUTH bob secret", "AUTH", ""),
            ("HELLO 3 AUTH bob secret", "HELLO", ""),
            ("ACL SETUSER bob >secret", "ACL SETUSER", ""),
            ("ECHO secret", "ECHO", ""),
            ("PUBLISH news secret", "PUBLISH", "news"),
            ("JSON.SET doc $ secret", "JSON.SET", "doc"),
            ("NOSUCH secret", "NOSUCH", ""),
        ] {
            assert_eq!(shown(line, false), (name.to_owned(), arguments.to_owned()), "{line}");
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        for line in
            ["AUTH bob secret", "HELLO 3 AUTH bob secret", "CONFIG SET requirepass secret", "ACL SETUSER bob >secret"]
        {
            assert!(!shown(line, true).1.contains("secret"), "{line}");
        }
        assert_eq!(shown("SET a b", true).1, "a b");
    }

    #[test]
    fn many_keys_end_in_dots() {
        let line = format!("DEL {}", (0..100).map(|n| n.to_string()).collect::<Vec<_>>().join(" "));
        assert!(shown(&line, false).1.ends_with("61 62 ..."), "{}", shown(&line, false).1);
    }
}

//! Names of code that was compiled at run time, from the map that the compiler wrote: lines of `START SIZE name` in hexadecimal.
//! A pod writes that file: it may be of any size, change while it is read, and hold anything.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
};

/// Bytes of a map that are read.
const READ_MAX: u64 = 64 << 20;
/// Bytes of one line that are kept; the rest of it is skipped.
const LINE_MAX: usize = 4 << 10;
/// Names that are given to addresses in total: lines that all claim the same addresses cost no more time than this.
const NAMINGS_MAX: usize = 1 << 20;

/// Names for these addresses. A later line wins: memory of old code is used again.
pub(super) fn names(map: impl Read, addresses: &[u64]) -> BTreeMap<u64, String> {
    let mut wanted: Vec<u64> = addresses.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let mut names = BTreeMap::new();
    let mut left = NAMINGS_MAX;
    let mut reader = BufReader::new(map.take(READ_MAX));
    let mut line = Vec::new();
    while left > 0 && read_line(&mut reader, &mut line) {
        let Some((start, size, name)) = parse(&line) else { continue };
        let first = wanted.partition_point(|address| *address < start);
        let end = start.saturating_add(size);
        for address in wanted[first..].iter().take_while(|address| **address < end).take(left) {
            names.insert(*address, name.clone());
            left -= 1;
        }
    }
    names
}

/// Reads the next line; false at the end. Not `read_line` of the standard library, whose line may be as long as the file.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> bool {
    line.clear();
    let mut any = false;
    loop {
        let Ok(bytes) = reader.fill_buf() else { return any };
        if bytes.is_empty() {
            return any;
        }
        any = true;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        line.extend_from_slice(&part[..part.len().min(LINE_MAX.saturating_sub(line.len()))]);
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return true;
        }
    }
}

fn parse(line: &[u8]) -> Option<(u64, u64, String)> {
    let text = String::from_utf8_lossy(line);
    let (start, rest) = text.trim_start().split_once(' ')?;
    let (size, name) = rest.trim_start().split_once(' ')?;
    let hex = |number: &str| u64::from_str_radix(number.trim_start_matches("0x"), 16).ok();
    let name = name.trim();
    (!name.is_empty()).then_some((hex(start)?, hex(size)?, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn address_has_the_name_of_the_last_line_around_it() {
        let map = "7f00 100 old\n0x8000 20 LazyCompile:~fetch /app/cart.js:7\nbad line\n7f40 40 new\n";
        let names = names(map.as_bytes(), &[0x7f00, 0x7f50, 0x7f80, 0x8010, 0x8020]);
        let expected =
            [(0x7f00, "old"), (0x7f50, "new"), (0x7f80, "old"), (0x8010, "LazyCompile:~fetch /app/cart.js:7")];
        assert_eq!(names, expected.map(|(address, name)| (address, name.to_owned())).into());
    }

    #[test]
    fn endless_line_costs_the_memory_of_its_beginning() {
        let map = std::io::repeat(b'7').take(3 << 20).chain("\n7f00 10 behind\n".as_bytes());
        assert_eq!(names(map, &[0x7f00]), [(0x7f00, "behind".to_owned())].into());
        let mut line = Vec::new();
        assert!(read_line(&mut BufReader::new(std::io::repeat(b'7').take(3 << 20)), &mut line));
        assert_eq!(line.len(), LINE_MAX);
    }

    #[test]
    fn lines_that_claim_everything_are_followed_for_a_limited_time() {
        let addresses: Vec<u64> = (0..1000).collect();
        let map = "0 ffffffffffffffff all\n".repeat(NAMINGS_MAX / 1000 + 50) + "0 1 late\n";
        assert_eq!(names(map.as_bytes(), &addresses)[&0], "all");
    }

    proptest! {
        #[test]
        fn any_bytes_name_only_what_was_asked(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(names(&*bytes, &[7, 9]).keys().all(|address| [7, 9].contains(address)));
        }

        #[test]
        fn lines_that_look_right_are_read(start in 0u64..0x1000, size in 0u64..0x1000, name in "[^\\n]{1,20}") {
            let map = format!("{start:x} {size:x} {name}\n");
            let named = names(map.as_bytes(), &[0x800]);
            let inside = (start..start + size).contains(&0x800) && !name.trim().is_empty();
            prop_assert_eq!(named.contains_key(&0x800), inside);
        }
    }
}

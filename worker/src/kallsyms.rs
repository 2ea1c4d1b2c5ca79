//! Names of sampled kernel addresses, from the `/proc/kallsyms` that the agent opened, which is read once and line by line.
//! blazesym's own reader needs a path and keeps the whole table in memory, ten times the rest of a profile.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read},
};

/// Names of the functions around `addresses`. Empty if the table shows zeros, because the agent lacks CAP_SYSLOG.
pub(crate) fn names(table: impl Read, addresses: &[u64]) -> HashMap<u64, String> {
    let mut wanted: Vec<u64> = addresses.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    // The table is not sorted. For each wanted address: the nearest symbol below it that is above the previous wanted address.
    let mut nearest: Vec<Option<(u64, String)>> = vec![None; wanted.len()];
    let mut reader = BufReader::new(table);
    let mut line = String::new();
    while !wanted.is_empty() {
        line.clear();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let mut words = line.split_whitespace();
        let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) else { continue };
        let Ok(address) = u64::from_str_radix(address, 16) else { continue };
        if address == 0 || !matches!(kind, "t" | "T" | "w" | "W") {
            continue;
        }
        let index = wanted.partition_point(|wanted| *wanted < address);
        if let Some(best) = nearest.get_mut(index)
            && best.as_ref().is_none_or(|(before, _)| *before < address)
        {
            *best = Some((address, name.to_owned()));
        }
    }
    let mut names = HashMap::new();
    let mut below: Option<String> = None;
    for (address, best) in wanted.into_iter().zip(nearest) {
        if let Some((_, name)) = best {
            below = Some(name);
        }
        if let Some(name) = &below {
            names.insert(address, name.clone());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
ffffffff81002000 T second
ffffffff81001000 T first
ffffffff81001800 d data
ffffffffc0000000 t of_module\t[ext4]
";

    #[test]
    fn address_has_the_name_of_the_nearest_code_below_it() {
        let addresses = [0xffff_ffff_8100_1900, 0xffff_ffff_8100_1a00, 0xffff_ffff_8100_2004, 0xffff_ffff_c000_0010];
        let names = names(TABLE.as_bytes(), &addresses);
        let found: Vec<&str> = addresses.iter().map(|address| names[address].as_str()).collect();
        assert_eq!(found, ["first", "first", "second", "of_module"]);
    }

    #[test]
    fn address_below_every_symbol_has_no_name() {
        assert!(names(TABLE.as_bytes(), &[0x1000]).is_empty());
    }

    #[test]
    fn table_of_zeros_names_nothing() {
        assert!(names("0000000000000000 T first\n".as_bytes(), &[0xffff_ffff_8100_1900]).is_empty());
    }
}

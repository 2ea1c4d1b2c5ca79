//! Names of DNS response codes, as Hubble's summaries and metrics have them.

/// RFC 1035, 2136, 2845, 2930, 4635, 6891. The space behind `Server Failure ` is Hubble's.
const NAMES: [&str; 11] = [
    "No Error",
    "Format Error",
    "Server Failure ",
    "Non-Existent Domain",
    "Not Implemented",
    "Query Refused",
    "Name Exists when it should not",
    "RR Set Exists when it should not",
    "RR Set that should exist does not",
    "Server Not Authoritative for zone",
    "Name not contained in zone",
];
const FIRST_EXTENDED: u32 = 16;
const EXTENDED: [&str; 7] = [
    "Bad OPT Version",
    "Key not recognized",
    "Signature out of time window",
    "Bad TKEY Mode",
    "Duplicate key name",
    "Algorithm not supported",
    "Bad Truncation",
];

pub fn rcode_text(rcode: u32) -> &'static str {
    let in_table = |table: &[&'static str], number: u32| table.get(usize::try_from(number).ok()?).copied();
    in_table(&NAMES, rcode).or_else(|| in_table(&EXTENDED, rcode.checked_sub(FIRST_EXTENDED)?)).unwrap_or("Unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_has_hubbles_name() {
        for (rcode, expected) in [
            (0, "No Error"),
            (2, "Server Failure "),
            (3, "Non-Existent Domain"),
            (10, "Name not contained in zone"),
            (11, "Unknown"),
            (16, "Bad OPT Version"),
            (22, "Bad Truncation"),
            (4095, "Unknown"),
        ] {
            assert_eq!(rcode_text(rcode), expected, "{rcode}");
        }
    }
}

//! docs/reasons.md and the enum say the same.

use std::fs;

use trilobite_crds::Reason;

use super::repository;

#[test]
fn page_explains_every_reason_in_order() {
    let page = fs::read_to_string(repository("docs/reasons.md")).unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let written: Vec<(&str, &str)> = rows.iter().map(|row| (row[0].trim_matches('`'), row[1])).collect();
    let known: Vec<(&str, &str)> = Reason::ALL.iter().map(|reason| (reason.as_str(), reason.meaning())).collect();
    assert_eq!(written, known);
    for row in rows {
        assert!(row.len() == 3 && !row[2].is_empty(), "{} needs a next step", row[0]);
    }
}

#[test]
fn every_reason_can_be_parsed() {
    for reason in Reason::ALL {
        assert_eq!(reason.as_str().parse(), Ok(*reason));
    }
    assert!("Nonsense".parse::<Reason>().is_err());
}

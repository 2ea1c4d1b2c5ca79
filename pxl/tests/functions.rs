//! The functions beside the list of Pixie's documented ones.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use trilobite_pxl::{FunctionKind, find_function, functions};

fn lines() -> impl Iterator<Item = &'static str> {
    include_str!("functions.txt").lines().filter(|line| !line.starts_with('#'))
}

#[test]
fn documented_functions_have_their_kinds_and_overloads() {
    for line in lines() {
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        if name == "pprof" {
            assert!(find_function(name).is_none(), "refused by name: see refusals.rs");
            continue;
        }
        let function = find_function(name).unwrap_or_else(|| panic!("{name}"));
        let signatures = function.signatures().replace(", ", ",").replace(" -> ", "->");
        let signatures: Vec<&str> = signatures.split(" or ").collect();
        let is_aggregate = words.clone().next_back() == Some("aggregate");
        assert_eq!(function.kind == FunctionKind::Aggregate, is_aggregate, "{name}");
        for overload in words.filter(|word| *word != "aggregate") {
            assert!(signatures.contains(&overload), "{name} {overload}: {signatures:?}");
        }
    }
}

#[test]
fn other_functions_are_extensions_or_undocumented_ones_that_scripts_call() {
    let documented: BTreeSet<&str> = lines().map(|line| line.split(' ').next().unwrap()).collect();
    let others: Vec<&str> =
        functions().map(|function| function.name).filter(|name| !documented.contains(name)).collect();
    let expected = [
        "_match_endpoint",
        "_predict_request_path_cluster",
        "_build_request_path_clusters",
        "p50",
        "p90",
        "p95",
        "p99",
    ];
    assert_eq!(others, expected);
}

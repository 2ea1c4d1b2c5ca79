//! Bounds of the spec, its words, and what survives reading and writing.

use serde_json::json;

use super::*;

#[test]
fn violations_have_the_paths_of_the_json() {
    let arg = Argument { index: 200, ..Argument::default() };
    let filter = ValueFilter { index: -1, args: vec![1, 400], ..ValueFilter::default() };
    let selector = Selector { match_args: vec![filter], ..Selector::default() };
    let hook = Tracepoint {
        subsystem: "sched".into(),
        event: "../sys_enter".into(),
        args: vec![arg],
        tags: vec!["shop".into(), "x".into()],
        selectors: vec![selector],
        ..Tracepoint::default()
    };
    let macros = BTreeMap::from([("m".to_owned(), Selector { label: "x".repeat(129), ..Selector::default() })]);
    let spec = TracingPolicySpec { tracepoints: vec![hook], selectors_macros: macros, ..TracingPolicySpec::default() };
    let found: Vec<String> =
        bounds::violations(&NamespacedSpec(spec), "spec").iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "spec.selectorsMacros.m.label: must have at most 128 characters, has 129",
            "spec.tracepoints[0].args[0].index: 200 must be at most 127",
            "spec.tracepoints[0].event: \"../sys_enter\" must consist of letters, digits and _",
            "spec.tracepoints[0].selectors[0].matchArgs[0].args[1]: 400 must be 0 to 127",
            "spec.tracepoints[0].selectors[0].matchArgs[0].index: -1 must be at least 0",
            "spec.tracepoints[0].tags[1]: must have at least 2 characters, has 1",
        ]
    );
}

#[test]
fn overlong_list_is_one_violation() {
    let spec = TracingPolicySpec { tracepoints: vec![Tracepoint::default(); 257], ..TracingPolicySpec::default() };
    let found = bounds::violations(&spec, "spec");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].to_string(), "spec.tracepoints: must have at most 256 items, has 257");
}

#[test]
fn every_word_is_found_by_each_of_its_spellings() {
    fn check<T: Vocabulary + std::fmt::Debug>() {
        for (spelling, word) in T::SPELLINGS {
            for text in [*spelling, &spelling.to_lowercase(), &spelling.to_uppercase()] {
                assert_eq!(T::parse(text), Some(*word), "{text}");
            }
            assert_eq!(T::parse(&format!("{spelling}x")).filter(|found| found == word), None);
        }
        let own = T::ALL.iter().map(|word| T::parse(word.as_str()));
        assert!(own.zip(T::ALL).all(|(found, word)| found == Some(*word)));
    }
    check::<Operator>();
    check::<ArgumentType>();
    check::<ActionKind>();
    check::<NamespaceKind>();
    check::<CapabilitySet>();
    check::<Credential>();
    check::<OptionName>();
    check::<RateLimitScope>();
    check::<ListType>();
    check::<ArgumentSource>();
    check::<PolicyMode>();
    check::<OverrideMethod>();
}

#[test]
fn tetragon_has_as_many_words() {
    assert_eq!(ArgumentType::ALL.len(), 52);
    assert_eq!(Operator::ALL.len(), 36);
    // 12, and the three that Tetragon has removed.
    assert_eq!(ActionKind::ALL.len(), 15);
    assert_eq!(NamespaceKind::ALL.len(), 10);
    assert_eq!(OptionName::ALL.len(), 5);
}

#[test]
fn aliases_are_read_and_canonical_spellings_written() {
    for (written, canonical) in [
        ("eq", "Equal"),
        ("neq", "NotEqual"),
        ("GreaterThan", "GT"),
        ("lt", "LT"),
        ("SubStringIgnoreCase", "SubStringIgnCase"),
        ("NotSportPriv", "NotSPortPriv"),
        ("notdaddr", "NotDAddr"),
    ] {
        let filter: ValueFilter = serde_json::from_value(json!({"operator": written, "values": ["1"]})).unwrap();
        assert_eq!(serde_json::to_value(filter).unwrap()["operator"], canonical);
    }
    let unknown: ValueFilter = serde_json::from_value(json!({"operator": "Equl"})).unwrap();
    assert_eq!(serde_json::to_value(unknown).unwrap()["operator"], "Equl");
}

#[test]
fn defaults_written_out_are_the_same_policy() {
    let short: TracingPolicySpec =
        serde_json::from_value(json!({"kprobes": [{"call": "sys_dup", "args": [{"index": 0, "type": "int"}]}]}))
            .unwrap();
    let long: TracingPolicySpec = serde_json::from_value(json!({
        "loader": false, "lists": [], "options": [],
        "kprobes": [{
            "call": "sys_dup", "syscall": true, "return": false, "message": "", "returnArgAction": "", "tags": [],
            "args": [{"index": 0, "type": "int", "resolve": "", "sizeArgIndex": 0, "returnCopy": false,
                      "maxData": false, "label": "", "source": "", "btfType": "", "btfTypeModule": ""}],
        }],
    }))
    .unwrap();
    assert_eq!(short, long);
    assert_eq!(serde_json::to_value(&short).unwrap(), serde_json::to_value(&long).unwrap());
}

#[test]
fn rate_limits_have_units() {
    let millis = |text: &str| Action { rate_limit: text.into(), ..Action::default() }.rate_limit_millis();
    assert_eq!(["5", "5s", "5S", "1m", "2h"].map(millis), [5000, 5000, 5000, 60_000, 7_200_000].map(Some));
    assert_eq!(["", "s", "-1", "+1", "1d", "1.5s", "é"].map(millis), [None; 7]);
    assert_eq!(millis("99999999h"), Some(u32::MAX));
}

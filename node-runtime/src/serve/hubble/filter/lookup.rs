//! Filters by names in DNS: those of a flow's ends, and the one that is asked for.

use regex::bytes::Regex;
use trilobite_api::name_pattern::NamePattern;

use super::predicate::BuildResult;
use crate::{
    layers::network::flow::{Flow, L7, Names},
    serve::tetragon::regular_expression,
};

/// Whole names with `*`, without regard to case and to a last dot.
pub(super) fn fqdn(wanted: &[String], of: fn(&Flow) -> &Names) -> BuildResult {
    let wanted = wanted.iter().map(|pattern| NamePattern::parse(pattern)).collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(move |flow| {
        let mut names = of(flow).iter().flat_map(|names| names.iter());
        names.any(|name| wanted.iter().any(|pattern| pattern.matches(name)))
    }))
}

/// Regular expressions, not anchored.
pub(super) fn dns_query(wanted: &[String]) -> BuildResult {
    let wanted: Vec<Regex> = wanted.iter().map(|pattern| regular_expression(pattern)).collect::<Result<_, _>>()?;
    Ok(Box::new(move |flow| {
        let dns = flow.l7().and_then(L7::dns);
        dns.is_some_and(|dns| wanted.iter().any(|pattern| pattern.is_match(dns.query.as_bytes())))
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::layers::network::flow::{
        L7FlowType,
        samples::{dns, http, syn},
    };

    #[test]
    fn name_of_an_end_matches_as_a_whole() {
        let names = vec!["shop.example.com".to_owned(), "edge.example.org".to_owned()];
        let named = Flow { destination_names: Some(Arc::new(names)), ..syn() };
        for (pattern, answer) in [("Shop.Example.COM.", true), ("*.example.org", true), ("example.com", false)] {
            let test = fqdn(&[pattern.to_owned()], |flow| &flow.destination_names).unwrap();
            assert_eq!((test(&named), test(&syn())), (answer, false), "{pattern}");
            assert!(!fqdn(&[pattern.to_owned()], |flow| &flow.source_names).unwrap()(&named));
        }
        assert!(fqdn(&["a b".to_owned()], |flow| &flow.source_names).is_err());
    }

    #[test]
    fn query_matches_in_part_and_only_where_there_is_one() {
        let test = dns_query(&["^shop[.]".to_owned(), "nothing".to_owned()]).unwrap();
        assert!(test(&dns(L7FlowType::Request, 0)) && test(&dns(L7FlowType::Response, 3)));
        assert!(!test(&syn()) && !test(&http(L7FlowType::Request, 0)));
        assert!(dns_query(&["(".to_owned()]).is_err());
    }
}

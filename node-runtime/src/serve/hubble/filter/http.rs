//! Filters by what an HTTP request asks for and what its response says.

use regex::bytes::Regex;
use trilobite_api::{
    flow::HttpHeader,
    http_values::{StatusCodes, path_of},
};

use super::predicate::{BuildResult, Predicate};
use crate::{
    layers::network::flow::{Http, L7},
    serve::tetragon::regular_expression,
};

/// Whole codes, and beginnings of codes, e.g. `5+`. A request has none.
pub(super) fn status_code(wanted: &[String]) -> BuildResult {
    let wanted: Vec<StatusCodes> = wanted.iter().map(|text| StatusCodes::parse(text)).collect::<Result<_, _>>()?;
    Ok(of_http(move |http| wanted.iter().any(|one| one.contains(http.code))))
}

/// Without regard to case.
pub(super) fn method(wanted: Vec<String>) -> BuildResult {
    Ok(of_http(move |http| !http.method.is_empty() && wanted.iter().any(|one| one.eq_ignore_ascii_case(&http.method))))
}

/// Regular expressions, not anchored.
pub(super) fn url(wanted: &[String]) -> BuildResult {
    let wanted = patterns(wanted)?;
    Ok(of_http(move |http| !http.url.is_empty() && wanted.iter().any(|pattern| pattern.is_match(http.url.as_bytes()))))
}

/// As `url`, of the path alone.
pub(super) fn path(wanted: &[String]) -> BuildResult {
    let wanted = patterns(wanted)?;
    Ok(of_http(move |http| path_of(&http.url).is_some_and(|path| wanted.iter().any(|pattern| pattern.is_match(&path)))))
}

fn patterns(wanted: &[String]) -> Result<Vec<Regex>, String> {
    wanted.iter().map(|pattern| regular_expression(pattern)).collect()
}

/// Name and value, with regard to case.
pub(super) fn header(wanted: Vec<HttpHeader>) -> BuildResult {
    Ok(of_http(move |http| {
        http.headers.iter().any(|(name, value)| wanted.iter().any(|one| one.key == *name && one.value == *value))
    }))
}

/// The trace that a request belongs to.
pub(super) fn trace_id(wanted: Vec<String>) -> BuildResult {
    Ok(of_http(move |http| http.trace_id.as_ref().is_some_and(|id| wanted.iter().any(|one| **one == **id))))
}

fn of_http(holds: impl Fn(&Http) -> bool + Send + Sync + 'static) -> Predicate {
    Box::new(move |flow| flow.l7().and_then(L7::http).is_some_and(&holds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::network::flow::{
        L7FlowType::{Request, Response},
        samples::{dns, http, syn},
    };

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn status_is_a_whole_code_or_its_beginning() {
        for (wanted, answer) in [("503", true), ("5+", true), ("50+", true), ("404", false), ("4+", false)] {
            let test = status_code(&texts(&[wanted])).unwrap();
            assert_eq!(test(&http(Response, 503)), answer, "{wanted}");
            assert!(!test(&http(Request, 0)) && !test(&syn()) && !test(&dns(Response, 0)), "{wanted}");
        }
        assert!(status_code(&texts(&["404", "5+"])).unwrap()(&http(Response, 503)));
        assert!(status_code(&texts(&["404", "6+"])).is_err());
    }

    #[test]
    fn method_url_path_and_header_match_request_and_response() {
        let pair = |key: &str, value: &str| vec![HttpHeader { key: key.into(), value: value.into() }];
        for (test, answer) in [
            (method(texts(&["post", "get"])), true),
            (method(texts(&["POST"])), false),
            (url(&texts(&["^http://cart.store/.*id=7$"])), true),
            (url(&texts(&["https"])), false),
            (path(&texts(&["^/items$"])), true),
            (path(&texts(&["id=7", "cart"])), false),
            (header(pair("Host", "cart.store")), true),
            (header(pair("host", "cart.store")), false),
            (trace_id(texts(&["7", "4bf92f3577b34da6a3ce929d0e0e4736"])), true),
            (trace_id(texts(&["4bf92f3577b34da6"])), false),
        ] {
            let test = test.unwrap();
            assert_eq!((test(&http(Request, 0)), test(&http(Response, 404))), (answer, answer));
            assert!(!test(&syn()) && !test(&dns(Request, 0)));
        }
        assert!(path(&texts(&["("])).is_err() && url(&texts(&["a**"])).is_err());
    }
}

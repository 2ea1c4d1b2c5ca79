//! Whether a flow is an HTTP request or response that the arguments ask for.

use regex::Regex;
use trilobite_api::{
    flow::{Flow, Http, HttpHeader, layer7::Record},
    http_values::{StatusCodes, path_of},
};

use crate::args::FlowFilterArgs;

/// An empty list asks for nothing.
pub(super) struct HttpMatcher {
    statuses: Vec<StatusCodes>,
    methods: Vec<String>,
    paths: Vec<Regex>,
    urls: Vec<Regex>,
    headers: Vec<HttpHeader>,
}

impl HttpMatcher {
    pub(super) fn new(arguments: &FlowFilterArgs) -> Self {
        // The command line has parsed them before.
        let statuses = arguments.http_status.iter().filter_map(|text| StatusCodes::parse(text).ok());
        Self {
            statuses: statuses.collect(),
            methods: arguments.http_method.clone(),
            paths: arguments.http_path.clone(),
            urls: arguments.http_url.clone(),
            headers: arguments.http_header.clone(),
        }
    }

    pub(super) fn holds(&self, flow: &Flow) -> bool {
        let Self { statuses, methods, paths, urls, headers } = self;
        let has_none =
            statuses.is_empty() && methods.is_empty() && paths.is_empty() && urls.is_empty() && headers.is_empty();
        has_none || http(flow).is_some_and(|http| self.holds_for(http))
    }

    fn holds_for(&self, http: &Http) -> bool {
        let Self { statuses, methods, paths, urls, headers } = self;
        let has_path = |path: &str| paths.iter().any(|pattern| pattern.is_match(path));
        (statuses.is_empty() || statuses.iter().any(|codes| codes.contains(http.code)))
            && (methods.is_empty() || methods.iter().any(|one| one.eq_ignore_ascii_case(&http.method)))
            && (paths.is_empty() || path_of(&http.url).is_some_and(|path| has_path(&String::from_utf8_lossy(&path))))
            && (urls.is_empty() || !http.url.is_empty() && urls.iter().any(|pattern| pattern.is_match(&http.url)))
            && (headers.is_empty() || http.headers.iter().any(|header| headers.contains(header)))
    }
}

fn http(flow: &Flow) -> Option<&Http> {
    match flow.l7.as_ref()?.record.as_ref()? {
        Record::Http(http) => Some(http),
        _ => None,
    }
}

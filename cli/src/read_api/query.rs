//! A request of the read API: the verb, the resource, and what is selected.

use std::fmt::Write;

use jiff::Timestamp;
use trilobite_crds::read_api::{GROUP, VERSION};

use crate::cluster::ClusterError;

/// Whatever is unset is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    /// `events`, `flows`, `requests` or `profiles`.
    resource: &'static str,
    /// All namespaces without one.
    namespace: Option<String>,
    /// One object; the second part is a subresource.
    object: Option<(String, &'static str)>,
    /// Names and values of the query string.
    parameters: Vec<(&'static str, String)>,
    fields: Vec<(&'static str, String)>,
}

impl Query {
    pub(crate) fn new(resource: &'static str, namespace: Option<&str>) -> Self {
        Self { resource, namespace: namespace.map(str::to_owned), ..Self::default() }
    }

    /// One object, or a subresource of it.
    pub(crate) fn object(mut self, name: &str, subresource: &'static str) -> Self {
        self.object = Some((name.to_owned(), subresource));
        self
    }

    /// Adds a requirement by a field.
    pub(crate) fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Adds a parameter, in place of one of the same name.
    pub(crate) fn parameter(mut self, name: &'static str, value: impl ToString) -> Self {
        self.parameters.retain(|(known, _)| *known != name);
        self.parameters.push((name, value.to_string()));
        self
    }

    /// Asks for rows of the past since that time. A second more than until `now`: the caller looks at the fraction.
    pub(crate) fn since(self, since: Timestamp, now: Timestamp) -> Self {
        self.parameter("sinceSeconds", now.duration_since(since).as_secs().max(0) + 1)
    }

    fn is_watch(&self) -> bool {
        self.parameters.iter().any(|(name, _)| *name == "watch")
    }

    fn path(&self) -> String {
        let mut path = format!("/apis/{GROUP}/{VERSION}");
        if let Some(namespace) = &self.namespace {
            path += &format!("/namespaces/{}", escaped(namespace));
        }
        path += &format!("/{}", self.resource);
        if let Some((name, subresource)) = &self.object {
            path += &format!("/{}", escaped(name));
            if !subresource.is_empty() {
                path += &format!("/{subresource}");
            }
        }
        let selector: Vec<String> =
            self.fields.iter().map(|(name, value)| format!("{name}={}", selector_value(value))).collect();
        let selector = (!selector.is_empty()).then(|| ("fieldSelector", selector.join(",")));
        let parameters = self.parameters.iter().cloned().chain(selector);
        for (at, (name, value)) in parameters.enumerate() {
            path += &format!("{}{name}={}", if at == 0 { '?' } else { '&' }, escaped(&value));
        }
        path
    }

    pub(super) fn request(&self) -> http::Request<Vec<u8>> {
        let mut request = http::Request::new(Vec::new());
        // Every byte that a URI may not have is escaped.
        if let Ok(uri) = self.path().parse() {
            *request.uri_mut() = uri;
        }
        if self.is_watch() {
            // An API server that compresses a watch sends a member for each line, of which clients read the first.
            request.headers_mut().insert(http::header::ACCEPT_ENCODING, http::HeaderValue::from_static("identity"));
        }
        request
    }

    /// Verb and object, as an error says them.
    pub(super) fn failed(&self, error: kube::Error) -> ClusterError {
        ClusterError::new(self.doing(), self.resource, error)
    }

    fn doing(&self) -> String {
        let verb = match (&self.object, self.is_watch()) {
            (Some(_), _) => "get",
            (None, true) => "watch",
            (None, false) => "list",
        };
        match (&self.namespace, &self.object) {
            (Some(namespace), Some((name, ""))) => format!("{verb} {} {namespace}/{name}", self.resource),
            (Some(namespace), Some((name, subresource))) => {
                format!("{verb} {}/{subresource} of {namespace}/{name}", self.resource)
            }
            (Some(namespace), None) => format!("{verb} {} in namespace {namespace}", self.resource),
            (None, _) => format!("{verb} {} of all namespaces (-n names one)", self.resource),
        }
    }
}

/// Commas and equals signs of a value are escaped as Kubernetes wants it.
fn selector_value(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for letter in value.chars() {
        if matches!(letter, ',' | '=' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

/// For a path or a query string.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_names_resource_namespace_and_parameters() {
        let all = Query::new("flows", None);
        assert_eq!(all.path(), "/apis/read.trilobite.dev/v1alpha1/flows");
        let query = Query::new("flows", Some("shop")).field("verdict", "DROPPED").field("node", "alder");
        let query = query.parameter("limit", 9).parameter("limit", 20);
        assert_eq!(
            query.path(),
            "/apis/read.trilobite.dev/v1alpha1/namespaces/shop/flows?limit=20&fieldSelector=verdict%3DDROPPED%2Cnode%3Dalder"
        );
        let folded = Query::new("profiles", Some("shop")).object("slow", "folded").parameter("waitSeconds", 5);
        assert_eq!(
            folded.path(),
            "/apis/read.trilobite.dev/v1alpha1/namespaces/shop/profiles/slow/folded?waitSeconds=5"
        );
    }

    #[test]
    fn name_cannot_leave_its_place_in_the_path() {
        let query = Query::new("events", Some("../../secrets?x")).field("node", "a,b=c");
        let path = query.path();
        assert!(
            path.starts_with("/apis/read.trilobite.dev/v1alpha1/namespaces/..%2F..%2Fsecrets%3Fx/events?"),
            "{path}"
        );
        assert!(path.ends_with("fieldSelector=node%3Da%5C%2Cb%5C%3Dc"), "{path}");
        assert_eq!(query.request().uri(), &*path);
    }

    #[test]
    fn failure_names_verb_and_resource() {
        assert_eq!(Query::new("flows", Some("shop")).doing(), "list flows in namespace shop");
        assert_eq!(
            Query::new("events", None).parameter("watch", true).doing(),
            "watch events of all namespaces (-n names one)"
        );
        let folded = Query::new("profiles", Some("shop")).object("slow", "folded");
        assert_eq!(folded.doing(), "get profiles/folded of shop/slow");
    }
}

//! URLs without the values of their queries and path parameters, their user information and fragments.

use std::borrow::Cow;
use std::ops::Range;

use super::REDACTED;

/// A request target or URL as it may be shown: names of query parameters stay, their values do not.
pub fn query(target: &str) -> Cow<'_, str> {
    shown(target, scan(target, |_| false))
}

/// Where the values stand that `query` takes out.
pub(crate) fn query_values(target: &str) -> Vec<Range<usize>> {
    scan(target, |_| false).map(|output| output.values).unwrap_or_default()
}

/// A text with URLs in it, e.g. the value of Referer or Link: each ends at a blank, a quote or an angle bracket.
pub(super) fn in_text(text: &str) -> Cow<'_, str> {
    shown(text, scan_text(text))
}

/// Where the values stand that `in_text` takes out.
pub(super) fn values_in_text(text: &str) -> Vec<Range<usize>> {
    scan_text(text).map(|output| output.values).unwrap_or_default()
}

/// A text without its values, and where they stood.
struct Output<'a> {
    text: &'a str,
    shown: String,
    values: Vec<Range<usize>>,
}

impl Output<'_> {
    fn push(&mut self, text: &str) {
        self.shown.push_str(text);
    }

    /// A part of the text that is not shown.
    fn hide(&mut self, value: &str) {
        let start = (value.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        self.values.push(start..start + value.len());
        self.shown.push_str(REDACTED);
    }

    fn hide_value(&mut self, value: &str) {
        if !value.is_empty() {
            self.hide(value);
        }
    }
}

fn shown<'a>(text: &'a str, output: Option<Output<'_>>) -> Cow<'a, str> {
    output.map_or(Cow::Borrowed(text), |output| Cow::Owned(output.shown))
}

fn scan_text(text: &str) -> Option<Output<'_>> {
    // Media types and the like have parameters too: only what has a query, a fragment or a user is a URL.
    if !text.contains('?') && !text.contains("://") && !text.contains(";jsessionid=") {
        return None;
    }
    scan(text, |byte| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'<' | b'>'))
}

/// None if there is nothing to take out.
fn scan(text: &str, ends: impl Fn(u8) -> bool) -> Option<Output<'_>> {
    if !text.bytes().any(|byte| matches!(byte, b'?' | b'#' | b'@' | b';')) {
        return None;
    }
    let mut out = Output { text, shown: String::with_capacity(text.len()), values: Vec::new() };
    let mut rest = text;
    while !rest.is_empty() {
        let end = end_of_url(rest, &ends);
        let (url, behind) = rest.split_at(end);
        push_url(&mut out, url);
        let delimiters = behind.bytes().take_while(|byte| ends(*byte)).count();
        out.push(behind.get(..delimiters).unwrap_or_default());
        rest = behind.get(delimiters..).unwrap_or_default();
    }
    Some(out)
}

/// A placeholder of an earlier pass is a part of its URL.
fn end_of_url(text: &str, ends: &impl Fn(u8) -> bool) -> usize {
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at) {
        if text.get(at..).is_some_and(|rest| rest.starts_with(REDACTED)) {
            at += REDACTED.len();
        } else if ends(*byte) {
            break;
        } else {
            at += 1;
        }
    }
    at
}

fn push_url(out: &mut Output<'_>, url: &str) {
    let (before_fragment, fragment) = split(url, '#');
    let (path, query) = split(before_fragment, '?');
    push_path(out, path);
    if let Some(query) = query {
        out.push("?");
        push_parameters(out, query, '&');
    }
    if let Some(fragment) = fragment {
        out.push("#");
        out.hide_value(fragment);
    }
}

/// `https://user:secret@host/a;session=1/b` -> `https://<redacted>@host/a;session=<redacted>/b`
fn push_path(out: &mut Output<'_>, path: &str) {
    let path = match path.split_once("://") {
        Some((scheme, rest)) => {
            out.push(scheme);
            out.push("://");
            let authority = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(authority);
            match authority.rsplit_once('@') {
                Some((user, host)) => {
                    out.hide(user);
                    out.push("@");
                    out.push(host);
                }
                None => out.push(authority),
            }
            path
        }
        None => path,
    };
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            out.push("/");
        }
        let (name, parameters) = split(segment, ';');
        out.push(name);
        if let Some(parameters) = parameters {
            out.push(";");
            push_parameters(out, parameters, ';');
        }
    }
}

/// What has no name may be a value by itself, e.g. `?secret`.
fn push_parameters(out: &mut Output<'_>, parameters: &str, separator: char) {
    for (index, parameter) in parameters.split(separator).enumerate() {
        if index > 0 {
            out.push(separator.encode_utf8(&mut [0; 4]));
        }
        match parameter.split_once('=') {
            Some((name, value)) => {
                out.push(name);
                out.push("=");
                out.hide_value(value);
            }
            None => out.hide_value(parameter),
        }
    }
}

fn split(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((before, behind)) => (before, Some(behind)),
        None => (text, None),
    }
}

//! URLs without the values of their queries and path parameters, their user information and fragments.

use std::borrow::Cow;

use super::REDACTED;

/// A request target or URL as it may be shown: names of query parameters stay, their values do not.
pub fn query(target: &str) -> Cow<'_, str> {
    redact(target, |_| false)
}

/// A text with URLs in it, e.g. the value of Referer or Link: each ends at a blank, a quote or an angle bracket.
pub(super) fn in_text(text: &str) -> Cow<'_, str> {
    // Media types and the like have parameters too: only what has a query, a fragment or a user is a URL.
    if !text.contains('?') && !text.contains("://") && !text.contains(";jsessionid=") {
        return Cow::Borrowed(text);
    }
    redact(text, |byte| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'<' | b'>'))
}

fn redact(text: &str, ends: impl Fn(u8) -> bool) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'?' | b'#' | b'@' | b';')) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = end_of_url(rest, &ends);
        let (url, behind) = rest.split_at(end);
        push_url(&mut out, url);
        let delimiters = behind.bytes().take_while(|byte| ends(*byte)).count();
        out.push_str(behind.get(..delimiters).unwrap_or_default());
        rest = behind.get(delimiters..).unwrap_or_default();
    }
    Cow::Owned(out)
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

fn push_url(out: &mut String, url: &str) {
    let (before_fragment, fragment) = split(url, '#');
    let (path, query) = split(before_fragment, '?');
    push_path(out, path);
    if let Some(query) = query {
        out.push('?');
        push_parameters(out, query, '&');
    }
    if let Some(fragment) = fragment {
        out.push('#');
        push_value(out, fragment);
    }
}

/// `https://user:secret@host/a;session=1/b` -> `https://<redacted>@host/a;session=<redacted>/b`
fn push_path(out: &mut String, path: &str) {
    let path = match path.split_once("://") {
        Some((scheme, rest)) => {
            out.push_str(scheme);
            out.push_str("://");
            let authority = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(authority);
            match authority.rsplit_once('@') {
                Some((_, host)) => {
                    out.push_str(REDACTED);
                    out.push('@');
                    out.push_str(host);
                }
                None => out.push_str(authority),
            }
            path
        }
        None => path,
    };
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            out.push('/');
        }
        let (name, parameters) = split(segment, ';');
        out.push_str(name);
        if let Some(parameters) = parameters {
            out.push(';');
            push_parameters(out, parameters, ';');
        }
    }
}

/// What has no name may be a value by itself, e.g. `?secret`.
fn push_parameters(out: &mut String, parameters: &str, separator: char) {
    for (index, parameter) in parameters.split(separator).enumerate() {
        if index > 0 {
            out.push(separator);
        }
        match parameter.split_once('=') {
            Some((name, value)) => {
                out.push_str(name);
                out.push('=');
                push_value(out, value);
            }
            None => push_value(out, parameter),
        }
    }
}

fn push_value(out: &mut String, value: &str) {
    if !value.is_empty() {
        out.push_str(REDACTED);
    }
}

fn split(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((before, behind)) => (before, Some(behind)),
        None => (text, None),
    }
}

//! Formats an error with all its causes on one line, for logs and conditions.

pub(super) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        // Some errors contain their cause's text already.
        if !text.ends_with(&line) {
            text = format!("{text}: {line}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("applying DaemonSet trilobite-node")]
    struct Outer(#[source] std::fmt::Error);

    #[test]
    fn an_error_includes_its_cause() {
        assert!(error_chain(&Outer(std::fmt::Error)).starts_with("applying DaemonSet trilobite-node: "));
    }
}

//! The header `traceparent` of W3C Trace Context.

/// The trace's id, of a header as OpenTelemetry accepts it.
pub(super) fn trace_id(header: &str) -> Option<&str> {
    let mut parts = header.splitn(5, '-');
    let mut hex = |digits: usize| {
        let part = parts.next()?;
        let is_hex = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (part.len() == digits && is_hex).then_some(part)
    };
    let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    // Later versions may have more behind the flags, and other flags.
    let is_known = version != "00" || (parts.next().is_none() && matches!(flags, "00" | "01" | "02"));
    (version != "ff" && is_known && !is_zero(trace) && !is_zero(span)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn id_is_the_second_part_of_a_valid_header() {
        for header in
            ["00-TRACE-00f067aa0ba902b7-01", "00-TRACE-00f067aa0ba902b7-00", "cc-TRACE-00f067aa0ba902b7-0f-more"]
        {
            assert_eq!(trace_id(&header.replace("TRACE", TRACE)), Some(TRACE), "{header}");
        }
    }

    #[test]
    fn header_that_is_not_valid_has_none() {
        let zeros = "0".repeat(32);
        for header in [
            "",
            "00",
            "00-TRACE-00f067aa0ba902b7",
            "00-TRACE-00f067aa0ba902b7-01-more",
            "00-TRACE-00f067aa0ba902b7-ff",
            "ff-TRACE-00f067aa0ba902b7-01",
            "00-TRACE-0000000000000000-01",
            "00-ZEROS-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-TRACE-00f067aa0ba902b-01",
            "00-\u{e9}\u{e9}-00f067aa0ba902b7-01",
        ] {
            let header = header.replace("TRACE", TRACE).replace("ZEROS", &zeros);
            assert_eq!(trace_id(&header), None, "{header}");
        }
    }
}

//! The part of a body that is kept, as text. What is no text is named as Pixie names it.

use crate::exchange::TRUNCATED;

/// Whether the kept part of a body is shown.
pub(crate) fn shows_text(content_type: &str, content_encoding: &str, asks: bool) -> bool {
    is_text(content_type, asks) && !is_encoded(content_encoding)
}

/// A body as rows show it.
pub(crate) fn body_text(kept: Vec<u8>, is_cut: bool, content_type: &str, content_encoding: &str, asks: bool) -> String {
    if kept.is_empty() {
        return String::new();
    }
    if content_type.is_empty() {
        return "<removed: unknown content-type>".to_owned();
    }
    if !is_text(content_type, asks) {
        return "<removed: non-text content-type>".to_owned();
    }
    if is_encoded(content_encoding) {
        return format!("<removed: content-encoding {content_encoding}>");
    }
    let mut text = String::from_utf8_lossy(&kept).into_owned();
    if is_cut {
        text.push_str(TRUNCATED);
    }
    text
}

fn is_text(content_type: &str, asks: bool) -> bool {
    content_type.contains("json") || content_type.contains("text/") || asks && content_type.contains("form-urlencoded")
}

fn is_encoded(content_encoding: &str) -> bool {
    !matches!(content_encoding, "" | "identity")
}

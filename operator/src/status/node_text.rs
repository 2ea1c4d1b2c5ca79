//! Text that a node reports, before it gets into a status of all nodes: bounded, on one line, and without characters that
//! change how a terminal shows what follows. Pure.

use trilobite_crds::condition::cut;
use trilobite_untrusted_text::is_unprintable;

pub(super) fn node_text(text: &str, limit: usize) -> String {
    let visible: String = text.chars().map(|letter| if is_unprintable(letter) { ' ' } else { letter }).collect();
    cut(&visible, limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_node_stays_on_one_line() {
        assert_eq!(node_text("no BTF\nStatus:\tTrue\u{1b}[2K\u{202e}ok\u{2028}", 99), "no BTF Status: True [2K ok ");
    }

    #[test]
    fn text_of_a_node_is_bounded() {
        assert_eq!(node_text(&"é".repeat(9), 4), "ééé…");
        assert_eq!(node_text("index 4, größer", 99), "index 4, größer");
    }
}

//! Folded stacks as one SVG flame graph, the same picture that the agent draws.

use trilobite_flame_graph::draw;
use trilobite_folded_stacks::Folded;

#[derive(Debug, thiserror::Error)]
#[error("cannot draw the flame graph: {0}")]
pub(crate) struct DrawError(String);

/// The SVG with a title and a subtitle.
pub(crate) fn flame_graph(folded: &Folded, title: &str, subtitle: &str) -> Result<Vec<u8>, DrawError> {
    draw(&folded.text(), title, subtitle).map_err(|error| DrawError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flame_graph_names_its_pod_and_its_functions() {
        let mut folded = Folded::default();
        folded.add("main;dig_deep 7\nmain;rest 1\n").unwrap();
        let svg = String::from_utf8(flame_graph(&folded, "shop/till-1", "8 samples").unwrap()).unwrap();
        for text in ["<svg", "shop/till-1", "8 samples", "dig_deep (7 samples"] {
            assert!(svg.contains(text), "{text}");
        }
    }
}

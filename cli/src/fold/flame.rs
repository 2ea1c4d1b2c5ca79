//! Folded stacks as one SVG flame graph.

use inferno::flamegraph::{Options, Palette, color::BasicPalette, from_lines};

use super::merge::Folded;

#[derive(Debug, thiserror::Error)]
#[error("cannot draw the flame graph: {0}")]
pub(crate) struct DrawError(String);

/// The SVG with `title`.
pub(crate) fn draw(folded: &Folded, title: &str, subtitle: &str) -> Result<Vec<u8>, DrawError> {
    let lines: Vec<String> = folded.lines().collect();
    let mut options = Options::default();
    options.title = title.into();
    options.subtitle = Some(subtitle.into());
    options.count_name = "samples".into();
    // The agent uses the same colors, so that the same profile is the same image.
    options.colors = Palette::Basic(BasicPalette::Hot);
    options.hash = true;
    options.min_width = 0.05;
    let mut svg = Vec::new();
    from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)
        .map_err(|error| DrawError(error.to_string()))?;
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flame_graph_names_its_pod_and_its_functions() {
        let mut folded = Folded::default();
        folded.add("main;dig_deep 7\nmain;rest 1\n").unwrap();
        let svg = String::from_utf8(draw(&folded, "shop/till-1", "8 samples").unwrap()).unwrap();
        for text in ["<svg", "shop/till-1", "8 samples", "dig_deep (7 samples"] {
            assert!(svg.contains(text), "{text}");
        }
    }
}

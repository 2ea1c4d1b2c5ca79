//! Folded stacks to a flame graph: one SVG file without references to others.

use std::io;

use inferno::flamegraph::{Options, Palette, color::BasicPalette, from_lines};

/// Draws a flame graph with a title above and a subtitle below.
pub(super) fn draw(folded: &str, title: &str, subtitle: &str) -> io::Result<Vec<u8>> {
    let mut options = Options::default();
    options.title = title.to_owned();
    options.subtitle = Some(subtitle.to_owned());
    options.count_name = "samples".to_owned();
    options.colors = Palette::Basic(BasicPalette::Hot);
    // Colours by hash instead of by chance: equal profiles give equal pictures.
    options.hash = true;
    options.min_width = 0.05;
    let mut svg = Vec::new();
    from_lines(&mut options, folded.lines(), &mut svg)?;
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_carries_its_title_and_its_frames() {
        let svg =
            String::from_utf8(draw("a;main;burn_primes 3\n", "shop/cart-7", "3 samples, 33 % truncated").unwrap())
                .unwrap();
        for text in ["shop/cart-7", "33 % truncated", "burn_primes"] {
            assert!(svg.contains(text), "{text}");
        }
    }
}

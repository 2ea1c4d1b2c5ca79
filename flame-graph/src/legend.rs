//! The legend: a line of coloured boxes with their meanings, below the picture that inferno has drawn.

use std::fmt::Write;

use inferno::flamegraph::color::Color;

/// Height of a line of the legend.
const LINE: usize = 20;
/// Width of the picture before a browser fits it to its window.
const WIDTH: usize = 1200;
const LEFT: usize = 10;
const BOX: usize = 12;
/// Width of a character of the font, roughly.
const CHARACTER: usize = 8;
/// Characters of a file's name.
const NAME_MAX: usize = 40;

/// Makes the picture higher, and draws the legend into the room. A picture of another form than inferno's stays as it is.
pub(crate) fn append(svg: &mut Vec<u8>, entries: &[(String, Color)]) {
    const END: &[u8] = b"</svg>";
    if !svg.ends_with(END) {
        return;
    }
    let Some(height) = height_of(svg) else { return };
    let (text, lines) = draw(entries, height);
    let higher = height + LINE * lines;
    if !grow(svg, height, higher) {
        return;
    }
    svg.truncate(svg.len() - END.len());
    svg.extend_from_slice(text.as_bytes());
    svg.extend_from_slice(END);
}

/// The boxes, in as many lines as they need.
fn draw(entries: &[(String, Color)], top: usize) -> (String, usize) {
    let mut text = String::from("<g id=\"legend\">");
    let (mut x, mut line) = (LEFT, 0);
    for (meaning, Color { r, g, b }) in entries {
        let meaning: String = meaning.chars().take(NAME_MAX).collect();
        let width = BOX + 6 + CHARACTER * meaning.chars().count() + 16;
        if x + width > WIDTH && x > LEFT {
            (x, line) = (LEFT, line + 1);
        }
        let y = top + LINE * line;
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{BOX}\" height=\"{BOX}\" fill=\"rgb({r},{g},{b})\"/><text x=\"{}\" y=\"{}\">{}</text>",
            x + BOX + 6,
            y + BOX - 2,
            escape(&meaning),
        );
        x += width;
    }
    text.push_str("</g>");
    (text, line + 1)
}

/// The height in the picture's first element.
fn height_of(svg: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(svg.get(..600.min(svg.len()))?).ok()?;
    let (_, rest) = head.split_once(" height=\"")?;
    rest.split_once('"')?.0.parse().ok()
}

/// Replaces the height in the first element, in its view box, and of the background; all lie before the first frame.
fn grow(svg: &mut Vec<u8>, height: usize, higher: usize) -> bool {
    let Some(frames) = find(svg, b"<svg id=\"frames\"") else { return false };
    let mut places: Vec<(usize, usize)> = Vec::new();
    for pattern in [format!(" height=\"{height}\""), format!(" {WIDTH} {height}\"")] {
        let mut from = 0;
        while let Some(at) = find(&svg[from..frames], pattern.as_bytes()) {
            let end = from + at + pattern.len() - 1;
            places.push((end - height.to_string().len(), end));
            from = end;
        }
    }
    places.sort_unstable();
    for (begin, end) in places.into_iter().rev() {
        svg.splice(begin..end, higher.to_string().into_bytes());
    }
    true
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: &str = "<svg version=\"1.1\" width=\"1200\" height=\"94\" viewBox=\"0 0 1200 94\"><rect height=\"94\"/><svg id=\"frames\" height=\"94\"></svg></svg>";

    #[test]
    fn picture_grows_by_the_lines_of_its_legend() {
        let entries: Vec<(String, Color)> =
            (0..9).map(|n| (format!("a-long-library-name-{n}.so"), Color { r: 1, g: 2, b: 3 })).collect();
        let mut svg = PICTURE.as_bytes().to_vec();
        append(&mut svg, &entries);
        let svg = String::from_utf8(svg).unwrap();
        assert!(svg.starts_with("<svg version=\"1.1\" width=\"1200\" height=\"134\" viewBox=\"0 0 1200 134\"><rect height=\"134\"/><svg id=\"frames\" height=\"94\">"), "{svg}");
        assert!(svg.contains("y=\"114\"") && svg.ends_with("</g></svg>"), "{svg}");
    }

    #[test]
    fn hostile_name_of_a_library_stays_text() {
        let mut svg = PICTURE.as_bytes().to_vec();
        append(&mut svg, &[("</text><script>.so".into(), Color { r: 1, g: 2, b: 3 })]);
        assert!(String::from_utf8(svg).unwrap().contains("&lt;/text&gt;&lt;script&gt;.so"));
    }

    #[test]
    fn picture_of_another_form_is_left_alone() {
        let mut svg = b"<svg></svg>".to_vec();
        append(&mut svg, &[("program".into(), Color { r: 1, g: 2, b: 3 })]);
        assert_eq!(svg, b"<svg></svg>");
    }
}

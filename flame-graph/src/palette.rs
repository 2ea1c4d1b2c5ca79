//! The colour of each frame: its kind and its file decide the hue, its name the shade.

use std::collections::{BTreeMap, HashMap};

use inferno::flamegraph::color::{Color, PaletteMap};

use crate::frame_text::{self, Origin, ROOT_FRAMES};

const ROOT: Color = Color { r: 216, g: 216, b: 216 };
const MISSING: Color = Color { r: 150, g: 150, b: 150 };
const PROGRAM: Color = Color { r: 232, g: 104, b: 64 };
const KERNEL: Color = Color { r: 104, g: 148, b: 226 };
const JIT: Color = Color { r: 96, g: 190, b: 96 };
/// Of the libraries with the most samples, in that order.
const LIBRARIES: [Color; 6] = [
    Color { r: 230, g: 200, b: 70 },
    Color { r: 84, g: 192, b: 190 },
    Color { r: 190, g: 130, b: 214 },
    Color { r: 232, g: 150, b: 190 },
    Color { r: 176, g: 186, b: 90 },
    Color { r: 196, g: 160, b: 120 },
];
const OTHER_LIBRARY: Color = Color { r: 240, g: 226, b: 170 };
/// A shade differs from its hue by this much at most.
const SHADE: u64 = 22;

/// Colours of the frames of some stacks.
pub(crate) struct Colors {
    pub(crate) by_frame: PaletteMap,
    /// What each hue means: kinds of code that occur.
    pub(crate) legend: Vec<(String, Color)>,
}

impl Colors {
    pub(crate) fn of_stacks(folded: &str) -> Self {
        let libraries = rank_libraries(folded);
        let mut used: BTreeMap<usize, (String, Color)> = BTreeMap::new();
        let mut by_frame = PaletteMap::default();
        // The frame below all stacks has no name.
        by_frame.insert("", ROOT);
        // Code last: a function and a thread of the same name have the function's colour.
        for code in [false, true] {
            for (at, text) in stacks(folded).flat_map(|(stack, _)| stack.split(';').enumerate()) {
                if (at >= ROOT_FRAMES) != code || (code && by_frame.get(text).is_some_and(|color| color != ROOT)) {
                    continue;
                }
                let (order, meaning, hue) = hue_of(text, code, &libraries);
                by_frame.insert(text, if hue == ROOT || hue == MISSING { hue } else { shade(hue, text) });
                used.entry(order).or_insert_with(|| (meaning.to_owned(), hue));
            }
        }
        Self { by_frame, legend: used.into_values().collect() }
    }
}

/// Place in the legend, meaning and hue of a frame.
fn hue_of<'a>(text: &'a str, code: bool, libraries: &HashMap<&str, usize>) -> (usize, &'a str, Color) {
    if !code {
        let missing = frame_text::parse(text).0 == Origin::Missing;
        return if missing { (99, "missing frames", MISSING) } else { (0, "pod, process, thread", ROOT) };
    }
    match frame_text::parse(text).0 {
        Origin::Program => (1, "program", PROGRAM),
        Origin::Kernel => (2, "kernel", KERNEL),
        Origin::Jit => (3, "compiled at run time", JIT),
        Origin::Library(file) => match libraries.get(file).and_then(|rank| Some((*rank, *LIBRARIES.get(*rank)?))) {
            Some((rank, hue)) => (4 + rank, file, hue),
            None => (98, "other libraries", OTHER_LIBRARY),
        },
        Origin::Missing => (99, "missing frames", MISSING),
    }
}

/// Libraries by the number of samples in which they occur, the most first.
fn rank_libraries(folded: &str) -> HashMap<&str, usize> {
    let mut samples: BTreeMap<&str, u64> = BTreeMap::new();
    for (stack, count) in stacks(folded) {
        for text in stack.split(';').skip(ROOT_FRAMES) {
            if let Origin::Library(file) = frame_text::parse(text).0 {
                let sum = samples.entry(file).or_default();
                *sum = sum.saturating_add(count);
            }
        }
    }
    let mut ranked: Vec<(&str, u64)> = samples.into_iter().collect();
    // Stable: equals stay in the order of their names.
    ranked.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    ranked.into_iter().enumerate().map(|(rank, (file, _))| (file, rank)).collect()
}

fn stacks(folded: &str) -> impl Iterator<Item = (&str, u64)> {
    folded.lines().filter_map(|line| {
        let (stack, count) = line.trim().rsplit_once(' ')?;
        Some((stack, count.parse().ok()?))
    })
}

/// A little lighter or darker, always the same for a name.
fn shade(hue: Color, name: &str) -> Color {
    // FNV-1a.
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let steps = name.bytes().fold(0xcbf2_9ce4_8422_2325, step) % (2 * SHADE + 1);
    let shift = |part: u8| (u64::from(part) + steps).saturating_sub(SHADE).min(255) as u8;
    Color { r: shift(hue.r), g: shift(hue.g), b: shift(hue.b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_beyond_the_palette_share_one_color() {
        let stacks: String = (0..9).map(|n| format!("p/c;a;a;main;lib{n}.so`f {}\n", 100 - n)).collect();
        let colors = Colors::of_stacks(&stacks);
        let meanings: Vec<&str> = colors.legend.iter().map(|(meaning, _)| meaning.as_str()).collect();
        let expected = ["lib0.so", "lib1.so", "lib2.so", "lib3.so", "lib4.so", "lib5.so", "other libraries"];
        assert_eq!(meanings, [["pod, process, thread", "program"].as_slice(), &expected].concat());
    }

    #[test]
    fn function_named_as_a_thread_keeps_its_color() {
        let colors = Colors::of_stacks("p/c;a;main;main;work 3\n");
        assert_ne!(colors.by_frame.get("main"), Some(ROOT));
        assert_eq!(colors.by_frame.get("a"), Some(ROOT));
    }

    #[test]
    fn missing_frames_are_grey() {
        let colors = Colors::of_stacks("p/c;a;a;[truncated];work 3\n[the rest] 1\n");
        assert_eq!(colors.by_frame.get("[truncated]"), Some(MISSING));
        assert_eq!(colors.by_frame.get("[the rest]"), Some(MISSING));
    }
}

//! Draws folded stacks as a flame graph: one SVG file without references to others, coloured by kind of code and by file, with a
//! legend below. The worker and the command line draw the same picture of the same stacks.

#![warn(missing_docs)]

pub mod frame_text;
mod legend;
mod palette;
pub mod title;

use std::io;

use inferno::flamegraph::{Options, from_lines};

pub use frame_text::ROOT_FRAMES;
pub use title::{ProfileSummary, ProfileTitle};

use palette::Colors;

/// Draws folded stacks (`pod/container;process;thread;main;burn_primes 42`) with a title above and a subtitle below it.
pub fn draw(folded: &str, title: &str, subtitle: &str) -> io::Result<Vec<u8>> {
    let mut colors = Colors::of_stacks(folded);
    let mut options = Options::default();
    options.title = title.to_owned();
    options.subtitle = Some(subtitle.to_owned());
    options.count_name = "samples".to_owned();
    // Not by chance: equal profiles give equal pictures.
    options.deterministic = true;
    options.min_width = 0.05;
    options.palette_map = Some(&mut colors.by_frame);
    let mut svg = Vec::new();
    from_lines(&mut options, folded.lines(), &mut svg)?;
    legend::append(&mut svg, &colors.legend);
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACKS: &str = "\
cart-7/app;burner;burner;main;burn_primes 30
cart-7/app;burner;burner;main;libc.so.6`memcpy 9
cart-7/app;burner;burner;main;libc.so.6`read;do_syscall_64_[k];vfs_read_[k] 8
";

    fn drawn() -> String {
        String::from_utf8(draw(STACKS, "CPU of shop/cart-7", "33 % truncated").unwrap()).unwrap()
    }

    /// Red, green and blue of the frame whose tooltip begins with this text.
    fn color_of(svg: &str, frame: &str) -> [i32; 3] {
        let begin = svg.find(&format!("<title>{frame} (")).unwrap_or_else(|| panic!("{frame} is not drawn"));
        let fill = svg[begin..].split_once("fill=\"rgb(").unwrap().1.split_once(')').unwrap().0;
        let parts: Vec<i32> = fill.split(',').map(|part| part.parse().unwrap()).collect();
        parts.try_into().unwrap()
    }

    #[test]
    fn picture_has_title_frames_and_legend() {
        let svg = drawn();
        for text in ["CPU of shop/cart-7", "33 % truncated", "burn_primes (30 samples", "vfs_read (8 samples"] {
            assert!(svg.contains(text), "{text}");
        }
        let legend = &svg[svg.find("id=\"legend\"").unwrap()..];
        for entry in [">program<", ">kernel<", ">libc.so.6<", ">pod, process, thread<"] {
            assert!(legend.contains(entry), "{entry}: {legend}");
        }
        assert!(svg.ends_with("</svg>"));
    }

    #[test]
    fn kernel_program_and_library_have_different_colors() {
        let svg = drawn();
        let colors = ["burn_primes", "libc.so.6`memcpy", "vfs_read", "cart-7/app"].map(|frame| color_of(&svg, frame));
        // Shades of one hue differ by less.
        let differ =
            |one: &[i32; 3], other: &[i32; 3]| one.iter().zip(other).any(|(one, other)| one.abs_diff(*other) > 50);
        for (at, color) in colors.iter().enumerate() {
            assert!(colors[at + 1..].iter().all(|other| differ(color, other)), "{colors:?}");
        }
    }

    #[test]
    fn same_stacks_give_the_same_picture() {
        assert_eq!(drawn(), drawn());
    }
}

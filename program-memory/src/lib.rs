//! Gives back the memory of this program's code that only its start has used: most of what is resident of a small daemon, since the
//! kernel maps sixteen pages where one is read. And an allocator that wipes what is freed.

#![allow(unsafe_code, reason = "no safe function gives advice about memory, and an allocator has none")]
#![warn(missing_docs)]

mod wiping_allocator;

use std::{ffi::c_int, fs, ptr};

pub use wiping_allocator::WipingAllocator;

/// Takes the pages of this program's code and constants out of memory. One that is used again is read from the file again: for
/// programs that call this once, when they have started.
pub fn release_unused_code() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, end) in maps.lines().filter_map(clean_range) {
        // Out of the page cache, where no other process maps them (from 5.4 on); then out of this process in any case.
        advise(start, end - start, libc::MADV_PAGEOUT);
        advise(start, end - start, libc::MADV_DONTNEED);
    }
}

fn advise(start: usize, length: usize, advice: c_int) {
    let address = ptr::with_exposed_provenance_mut(start);
    // SAFETY: the range is a mapping of a file that was never written to, so that its pages are read from the file again.
    unsafe { libc::madvise(address, length, advice) };
}

/// The addresses of a mapping of this program's code, or of its constants: those are the start of the file. Pages with
/// relocations are read-only as well and would be lost.
fn clean_range(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, mode, offset, path) = (words.next()?, words.next()?, words.next()?, words.nth(2)?);
    let is_clean = mode == "r-xp" || (mode == "r--p" && offset == "00000000");
    let (start, end) = range.split_once('-').filter(|_| is_clean && path.starts_with('/'))?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clean_pages_of_files_are_given_back() {
        let line =
            |mode: &str, offset: &str, path: &str| format!("7f00a000-7f00c000 {mode} {offset} fe:00 77    {path}");
        assert_eq!(clean_range(&line("r-xp", "0004c000", "/program")), Some((0x7f00_a000, 0x7f00_c000)));
        assert!(clean_range(&line("r--p", "00000000", "/program")).is_some());
        for (mode, offset, path) in
            [("r--p", "0012a000", "/program"), ("rw-p", "00000000", "/program"), ("r-xp", "00000000", "[vdso]")]
        {
            assert_eq!(clean_range(&line(mode, offset, path)), None);
        }
        assert_eq!(clean_range("7f00a000-7f00c000 rw-p 00000000 00:00 0"), None);
    }
    #[test]
    fn code_that_is_used_again_is_mapped_again() {
        let constant = include_str!("lib.rs");
        let before = (resident_file_pages(), constant.len());
        release_unused_code();
        assert!(resident_file_pages() < before.0, "{} pages before", before.0);
        assert_eq!((constant.len(), &constant[..4]), (before.1, "//! "));
    }

    fn resident_file_pages() -> usize {
        let statm = fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(2).unwrap().parse().unwrap()
    }
}

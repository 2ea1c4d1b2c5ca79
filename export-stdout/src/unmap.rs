//! Gives back the pages of this program's file that only its start has used: most of its resident memory, since the kernel maps
//! sixteen pages where one is read.

#![allow(unsafe_code, reason = "no safe function gives advice about memory")]

use std::{fs, ptr};

/// A page that is used again is mapped again.
pub(crate) fn unmap_unused_pages() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, end) in maps.lines().filter_map(clean_range) {
        let address = ptr::with_exposed_provenance_mut(start);
        // SAFETY: the range is a mapping of a file that was never written to, so that its pages are read from the file again.
        unsafe { libc::madvise(address, end - start, libc::MADV_DONTNEED) };
    }
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
        assert_eq!(clean_range(&line("r-xp", "0004c000", "/export")), Some((0x7f00_a000, 0x7f00_c000)));
        assert!(clean_range(&line("r--p", "00000000", "/export")).is_some());
        for (mode, offset, path) in
            [("r--p", "0012a000", "/export"), ("rw-p", "00000000", "/export"), ("r-xp", "00000000", "[vdso]")]
        {
            assert_eq!(clean_range(&line(mode, offset, path)), None);
        }
        assert_eq!(clean_range("7f00a000-7f00c000 rw-p 00000000 00:00 0"), None);
    }
}

//! An allocator that overwrites what is freed: for a process that reads secrets, of which a core dump is to show none.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ffi::c_int,
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};

/// Blocks of this size and more are mappings of their own: the kernel takes their pages when they are freed, and moves them when
/// they grow, without a copy.
const MAPPED_BYTES: usize = 128 << 10;
/// The smallest page of any machine, to which mappings are aligned.
const PAGE: usize = 4096;

/// The system's allocator for small blocks, which are overwritten with zeros when they are freed, from a moment on.
pub struct WipingAllocator {
    wipes: AtomicBool,
}

impl WipingAllocator {
    /// Frees small blocks as they are until `start_wiping`.
    pub const fn new() -> Self {
        Self { wipes: AtomicBool::new(false) }
    }

    /// Wipes what is freed from now on. Before, the process must not have read what is to be wiped.
    pub fn start_wiping(&self) {
        self.wipes.store(true, Ordering::Relaxed);
    }
}

impl Default for WipingAllocator {
    fn default() -> Self {
        Self::new()
    }
}

fn is_mapped(layout: Layout) -> bool {
    layout.size() >= MAPPED_BYTES && layout.align() <= PAGE
}

fn map(bytes: usize) -> *mut u8 {
    let (rights, kind): (c_int, c_int) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, where the kernel likes it.
    let mapping = unsafe { libc::mmap(ptr::null_mut(), bytes, rights, kind, -1, 0) };
    if mapping == libc::MAP_FAILED { ptr::null_mut() } else { mapping.cast() }
}

// SAFETY: the layout of a block says whether it is a mapping of its own or the system's.
unsafe impl GlobalAlloc for WipingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_mapped(layout) {
            return map(layout.size());
        }
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_mapped(layout) {
            return map(layout.size());
        }
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_mapped(layout) {
            // SAFETY: the block is a mapping of this size, and the caller does not use it any more.
            unsafe { libc::munmap(block.cast(), layout.size()) };
            return;
        }
        if self.wipes.load(Ordering::Relaxed) {
            // A plain write before a free is left out by the compiler.
            // SAFETY: the block has this size, and the caller does not use it any more.
            unsafe { libc::explicit_bzero(block.cast(), layout.size()) };
        }
        // SAFETY: the caller's.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises a size that is valid with this alignment.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        match (is_mapped(layout), is_mapped(new_layout)) {
            (true, true) => {
                // SAFETY: the block is a mapping of this size, which the caller knows by the answer from now on.
                let moved = unsafe { libc::mremap(block.cast(), layout.size(), new_size, libc::MREMAP_MAYMOVE) };
                return if moved == libc::MAP_FAILED { ptr::null_mut() } else { moved.cast() };
            }
            (false, false) if !self.wipes.load(Ordering::Relaxed) => {
                // SAFETY: the caller's.
                return unsafe { System.realloc(block, layout, new_size) };
            }
            _ => {}
        }
        // The system's would leave a block that it moves as it is.
        // SAFETY: both blocks have so many bytes and do not overlap.
        unsafe {
            let moved = self.alloc(new_layout);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(block, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::FileExt};

    use super::*;

    /// The C library's own notes at the beginning of a free block.
    const NOTES: usize = 32;

    /// Whether memory that is not used any more has what `filled` wrote. A mapping that is gone cannot be read.
    fn is_kept(block: *mut u8, size: usize) -> bool {
        let mut bytes = vec![0; size];
        let read = File::open("/proc/self/mem").unwrap().read_at(&mut bytes, block.addr() as u64);
        read.is_ok() && bytes[NOTES..].windows(8).any(|window| window == [0x5a; 8])
    }

    fn filled(allocator: &WipingAllocator, layout: Layout, byte: u8) -> *mut u8 {
        // SAFETY: the layout is not empty; so many bytes are written.
        unsafe {
            let block = allocator.alloc(layout);
            block.write_bytes(byte, layout.size());
            block
        }
    }

    #[test]
    fn freed_and_moved_blocks_are_overwritten() {
        let allocator = WipingAllocator::new();
        allocator.start_wiping();
        for size in [200, 5_000, 60_000, 130_000] {
            let layout = Layout::from_size_align(size, 8).unwrap();
            let block = filled(&allocator, layout, 0x5a);
            // SAFETY: the block is one of this layout.
            let moved = unsafe { allocator.realloc(block, layout, 2 * size) };
            assert!(!is_kept(block, size), "{size} bytes that were moved");
            // SAFETY: what was copied is a part of the block.
            let copied = unsafe { std::slice::from_raw_parts(moved, size) };
            assert!(copied.iter().all(|byte| *byte == 0x5a));
            // SAFETY: the block is one of this layout.
            unsafe { allocator.dealloc(moved, Layout::from_size_align(2 * size, 8).unwrap()) };
            assert!(!is_kept(moved, size), "{size} bytes that were freed");
        }
    }

    #[test]
    fn large_blocks_keep_their_bytes_when_their_size_changes() {
        let allocator = WipingAllocator::new();
        let sizes = [1_000, MAPPED_BYTES, 10 * MAPPED_BYTES, 2 * MAPPED_BYTES, 1_000];
        let layout = |size| Layout::from_size_align(size, 16).unwrap();
        let mut block = filled(&allocator, layout(sizes[0]), 0xa5);
        for [old, new] in sizes.windows(2).map(|pair| [pair[0], pair[1]]) {
            // SAFETY: the block is one of the layout before, and so many bytes are kept and written.
            unsafe {
                block = allocator.realloc(block, layout(old), new);
                assert!(
                    std::slice::from_raw_parts(block, old.min(new)).iter().all(|byte| *byte == 0xa5),
                    "{old} {new}"
                );
                block.write_bytes(0xa5, new);
            }
        }
        // SAFETY: the block is one of this layout.
        unsafe { allocator.dealloc(block, layout(1_000)) };
    }
}

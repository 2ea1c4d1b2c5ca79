//! This process's own memory.

/// Gives memory that nothing uses any more back to the kernel: a plan of a thousand policies needs several times what is kept of it,
/// and the allocator would keep it all.
pub fn release_unused() {
    // SAFETY: glibc locks each of its arenas; nothing that is allocated moves.
    unsafe {
        libc::malloc_trim(0);
    }
}

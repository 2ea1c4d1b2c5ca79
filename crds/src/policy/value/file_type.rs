//! Types of files by name.

/// The bits of `st_mode` that hold the type.
pub const FILE_TYPE_BITS: u32 = 0o170_000;

/// The type bits of `st_mode` for a name.
pub fn file_type(text: &str) -> Option<u32> {
    Some(match text.trim().to_ascii_lowercase().as_str() {
        "sock" | "socket" => 0o140_000,
        "lnk" | "link" => 0o120_000,
        "reg" | "regular" => 0o100_000,
        "blk" | "block" => 0o060_000,
        "dir" => 0o040_000,
        "chr" | "char" => 0o020_000,
        "fifo" | "pipe" => 0o010_000,
        _ => return None,
    })
}

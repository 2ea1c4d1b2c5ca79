//! Names of functions for offsets in ELF files, by blazesym, from the descriptors that the agent sent.
//! blazesym opens by path and reads lazily. So every file is opened first, by `/proc/self/fd/N`; then the seccomp filter forbids
//! to open anything, and only then the first byte of a file is read.

mod sampled_files;
mod symbolizers;

pub(crate) use sampled_files::SampledFiles;

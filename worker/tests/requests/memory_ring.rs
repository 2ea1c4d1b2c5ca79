//! A BPF ring buffer in a memory file, which a test fills as the kernel would.

use std::{
    fs::File,
    os::{fd::AsFd, fd::BorrowedFd, unix::fs::FileExt},
};

use rustix::fs::{MemfdFlags, memfd_create};

/// Bytes before each record: its length and page offset.
const HEADER: u64 = 8;

/// The consumer page, the producer page, and the data twice, as the kernel maps it.
pub(crate) struct MemoryRing {
    file: File,
    bytes: u64,
    page: u64,
    written: u64,
}

impl MemoryRing {
    pub(crate) fn new(bytes: u64) -> Self {
        let file: File = memfd_create("ring", MemfdFlags::CLOEXEC).unwrap().into();
        let page = rustix::param::page_size() as u64;
        file.set_len(2 * page + 2 * bytes).unwrap();
        Self { file, bytes, page, written: 0 }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Writes a record; false if the ring is full.
    pub(crate) fn write(&mut self, record: &[u8]) -> bool {
        let size = (record.len() as u64 + HEADER).next_multiple_of(8);
        if self.written + size - self.read() > self.bytes {
            return false;
        }
        let header = (record.len() as u64).to_ne_bytes();
        self.copy(self.written, &[&header, record].concat());
        self.written += size;
        self.file.write_all_at(&self.written.to_ne_bytes(), self.page).unwrap();
        true
    }

    /// Everything has been read.
    pub(crate) fn is_empty(&self) -> bool {
        self.read() == self.written
    }

    fn read(&self) -> u64 {
        let mut position = [0; 8];
        self.file.read_exact_at(&mut position, 0).unwrap();
        u64::from_ne_bytes(position)
    }

    fn copy(&self, position: u64, bytes: &[u8]) {
        let (offset, data) = (position % self.bytes, 2 * self.page);
        self.file.write_all_at(bytes, data + offset).unwrap();
        // The same place in the other copy: what runs over the end of the first is the beginning of the ring.
        let fits = (self.bytes - offset).min(bytes.len() as u64) as usize;
        self.file.write_all_at(&bytes[..fits], data + self.bytes + offset).unwrap();
        self.file.write_all_at(&bytes[fits..], data).unwrap();
    }
}

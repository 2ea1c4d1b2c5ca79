//! Reads a BPF ring buffer in a process that may not call bpf(2), by two mappings of the map's descriptor.
//! libbpf's reader first asks the kernel for the type of the map, which needs bpf(2), and a seccomp filter would have to allow it.

#![allow(unsafe_code)]

use std::{
    io,
    os::fd::BorrowedFd,
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Set in a record's length while the kernel writes it.
const BUSY: u32 = 1 << 31;
/// Set in the length of a record that was discarded.
const DISCARDED: u32 = 1 << 30;
/// Bytes before each record: its length and page offset.
const HEADER: usize = 8;

/// A mapped ring buffer: the consumer page, which holds our read position, and the producer page with the data behind it. The
/// data is mapped twice in a row, so that no record is split at the end.
pub struct RingView {
    consumer: NonNull<u8>,
    producer: NonNull<u8>,
    page: usize,
    bytes: usize,
}

impl RingView {
    /// Maps the ring behind this descriptor, with `bytes` of data.
    pub fn map(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<Self> {
        let page = page_size();
        if !bytes.is_power_of_two() || !bytes.is_multiple_of(page) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{bytes} bytes is not the size of a ring"),
            ));
        }
        let map = |length, prot, offset| -> io::Result<NonNull<u8>> {
            // SAFETY: a new mapping at an address of the kernel's choice changes nothing that exists.
            let address = unsafe { mmap(ptr::null_mut(), length, prot, MapFlags::SHARED, fd, offset)? };
            NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at zero"))
        };
        let consumer = map(page, ProtFlags::READ | ProtFlags::WRITE, 0)?;
        match map(page + 2 * bytes, ProtFlags::READ, page as u64) {
            Ok(producer) => Ok(Self { consumer, producer, page, bytes }),
            Err(error) => {
                // SAFETY: mapped above, and not used yet.
                unsafe { munmap(consumer.as_ptr().cast(), page)? };
                Err(error)
            }
        }
    }

    /// Passes at most `limit` available records to `each`, and returns their number.
    pub fn drain(&mut self, limit: usize, each: &mut dyn FnMut(&[u8])) -> usize {
        // SAFETY: both pages are mapped as long as `self` is, begin with a position of 64 bits, and are written by
        // atomic stores alone, ours and the kernel's.
        let (read, written) =
            unsafe { (self.consumer.cast::<AtomicU64>().as_ref(), self.producer.cast::<AtomicU64>().as_ref()) };
        let mut position = read.load(Ordering::Acquire);
        let mut drained = 0;
        while drained < limit && position < written.load(Ordering::Acquire) {
            let offset = position as usize & (self.bytes - 1);
            // SAFETY: `offset` lies inside the first copy of the data and is a multiple of 8, as all lengths are.
            let record = unsafe { self.producer.add(self.page + offset) };
            // SAFETY: as above; the kernel stores the length atomically, and clears BUSY when the record is whole.
            let length = unsafe { record.cast::<AtomicU32>().as_ref() }.load(Ordering::Acquire);
            if length & BUSY != 0 {
                break;
            }
            let size = (length & !(BUSY | DISCARDED)) as usize;
            if size > self.bytes - HEADER {
                break;
            }
            if length & DISCARDED == 0 {
                // SAFETY: header and record end inside the second copy at the latest, and the kernel leaves a record alone
                // until `read` has passed it.
                each(unsafe { slice::from_raw_parts(record.add(HEADER).as_ptr(), size) });
                drained += 1;
            }
            position += (size + HEADER).next_multiple_of(8) as u64;
            read.store(position, Ordering::Release);
        }
        drained
    }
}

/// From the C library, which learned it at process start: before Linux 6.4 rustix opens `/proc/self/auxv` for it, which the
/// seccomp filter of a confined process answers with SIGSYS.
fn page_size() -> usize {
    // SAFETY: reads one number of the C library.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

impl Drop for RingView {
    fn drop(&mut self) {
        // SAFETY: both were mapped in `map` with these lengths, and no record outlives `drain`.
        unsafe {
            let _ = munmap(self.consumer.as_ptr().cast(), self.page);
            let _ = munmap(self.producer.as_ptr().cast(), self.page + 2 * self.bytes);
        }
    }
}

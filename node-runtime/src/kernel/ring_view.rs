//! The reader's end of a ring buffer for a process that may not call bpf(2): two mappings of the map's descriptor.
//! libbpf's reader asks the kernel what kind of map it is first, which needs the call, and a filter would have to allow it.

#![allow(unsafe_code)]

use std::{
    io,
    os::fd::BorrowedFd,
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The kernel is still writing this record.
const BUSY: u32 = 1 << 31;
/// The record was given up.
const DISCARDED: u32 = 1 << 30;
/// Length and page offset come before each record.
const HEADER: usize = 8;

/// A ring buffer, mapped: a page that we write how far we have read, and the kernel's page with the data twice behind it,
/// so that no record is ever cut.
pub struct RingView {
    consumer: NonNull<u8>,
    producer: NonNull<u8>,
    page: usize,
    bytes: usize,
}

impl RingView {
    /// Maps the ring with this descriptor, which has `bytes` of data.
    pub fn map(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<Self> {
        let page = page_size();
        if !bytes.is_power_of_two() || !bytes.is_multiple_of(page) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{bytes} bytes are no size of a ring")));
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
                // SAFETY: mapped above, and used by nobody yet.
                unsafe { munmap(consumer.as_ptr().cast(), page)? };
                Err(error)
            }
        }
    }

    /// Gives at most `limit` records that are there; how many it gave.
    pub fn drain(&mut self, limit: usize, each: &mut dyn FnMut(&[u8])) -> usize {
        // SAFETY: both pages are mapped as long as `self` is, begin with a position of 64 bits, and are written by
        // atomic stores alone, ours and the kernel's.
        let (read, written) =
            unsafe { (self.consumer.cast::<AtomicU64>().as_ref(), self.producer.cast::<AtomicU64>().as_ref()) };
        let mut position = read.load(Ordering::Acquire);
        let mut given = 0;
        while given < limit && position < written.load(Ordering::Acquire) {
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
                given += 1;
            }
            position += (size + HEADER).next_multiple_of(8) as u64;
            read.store(position, Ordering::Release);
        }
        given
    }
}

/// By the C library, which has it from its start: rustix opens `/proc/self/auxv` for it before Linux 6.4, and a confined
/// process dies of that.
fn page_size() -> usize {
    // SAFETY: reads a number.
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

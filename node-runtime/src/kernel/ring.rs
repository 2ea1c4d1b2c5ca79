//! The consumer of a BPF ring buffer.

use std::{
    cell::Cell,
    ffi::{c_ulong, c_void},
    io, mem,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
    ptr::{self, NonNull},
    slice,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{Map, ring_pacing::gathering_time};
use crate::problem::Problem;

/// Most records of one `drain`.
const DRAIN_LIMIT: libbpf_sys::size_t = 2048;

/// Pause between two drains of a ring that is not empty, so that other tasks of this thread run.
const YIELD_TIME: Duration = Duration::from_millis(1);
/// A ring is polled at least this often. The kernel decides whether to wake the consumer by the consumer position that it sees;
/// a store of it that is not visible yet costs the wake-up.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

type Each<'a> = dyn FnMut(&[u8]) + 'a;
/// The callback of the current drain; libbpf calls it for each record.
type Reader = Cell<Option<NonNull<Each<'static>>>>;

/// A ring buffer and its only consumer.
pub struct Ring {
    map: Map,
    consumer: Mutex<Consumer>,
    more: AtomicBool,
    bytes: u32,
    readiness: OnceLock<AsyncFd<OwnedFd>>,
}

struct Consumer {
    inner: NonNull<libbpf_sys::ring_buffer>,
    reader: Box<Reader>,
    drained: Option<Drained>,
}

/// The last drain.
#[derive(Clone, Copy)]
struct Drained {
    at: Instant,
    /// Records gather in the ring until then.
    next: Instant,
}

// SAFETY: libbpf's consumer may be used from any thread, one at a time; the mutex guarantees that.
unsafe impl Send for Consumer {}

impl Ring {
    pub fn new(map: Map) -> Result<Self, Problem> {
        let reader: Box<Reader> = Box::new(Cell::new(None));
        let context = ptr::from_ref::<Reader>(&reader).cast_mut().cast::<c_void>();
        // SAFETY: the descriptor is a ring's; the context is on the heap and lives as long as the consumer, which frees it last.
        let inner =
            unsafe { libbpf_sys::ring_buffer__new(map.fd().as_raw_fd(), Some(on_record), context, ptr::null()) };
        let inner = NonNull::new(inner).ok_or_else(|| Problem::LoadFailed {
            what: format!("reading ring {}", map.name()),
            detail: io::Error::last_os_error().to_string(),
        })?;
        Ok(Self {
            bytes: map.max_entries(),
            map,
            consumer: Mutex::new(Consumer { inner, reader, drained: None }),
            more: AtomicBool::new(false),
            readiness: OnceLock::new(),
        })
    }

    /// Waits until there may be records and the gathering time is over. Drain afterwards; spurious wake-ups are possible.
    /// Cancel safe.
    pub async fn readable(&self) -> io::Result<()> {
        if self.more.load(Ordering::Relaxed) {
            // The kernel does not wake again for records that were already there. The pause lets other tasks run. The next drain
            // says whether there is still more, so this wait can be cancelled.
            sleep(YIELD_TIME).await;
            return Ok(());
        }
        // Before the wait for readiness, not after it: a wait that has succeeded must not be cancelled.
        let drained = self.consumer().drained;
        if let Some(drained) = drained {
            sleep_until(drained.next).await;
        }
        let readiness = match self.readiness.get() {
            Some(readiness) => readiness,
            None => {
                let fd = self.map.fd().try_clone_to_owned()?;
                // SAFETY: the `AsyncFd` owns the descriptor and closes it.
                let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? };
                self.readiness.get_or_init(|| registered)
            }
        };
        // Cleared before the drain: the kernel wakes again for records that are committed during it.
        if let Ok(ready) = timeout(POLL_INTERVAL, readiness.readable()).await {
            ready?.clear_ready();
        }
        Ok(())
    }

    /// Passes the records of the ring to `each`, up to a limit that lets other tasks run.
    pub fn drain(&self, each: &mut Each<'_>) {
        let mut consumer = self.consumer();
        let each: NonNull<Each<'_>> = NonNull::from(each);
        // SAFETY: only the lifetime changes, and the pointer is cleared before this function returns.
        consumer.reader.set(Some(unsafe { mem::transmute::<NonNull<Each<'_>>, NonNull<Each<'static>>>(each) }));
        let before = consumer.position(libbpf_sys::ring__consumer_pos);
        // SAFETY: the consumer is alive and locked.
        let answer = unsafe { libbpf_sys::ring_buffer__consume_n(consumer.inner.as_ptr(), DRAIN_LIMIT) };
        consumer.reader.set(None);
        let taken = consumer.position(libbpf_sys::ring__consumer_pos) - before;
        let at = Instant::now();
        let during = consumer.drained.map_or(Duration::from_secs(1), |last| at - last.at);
        consumer.drained = Some(Drained { at, next: at + gathering_time(self.bytes, taken, during) });
        self.more.store(answer >= 0 && answer as libbpf_sys::size_t >= DRAIN_LIMIT, Ordering::Relaxed);
        if answer < 0 {
            tracing::warn!(error = %io::Error::from_raw_os_error(-answer), "a ring could not be read");
        }
    }

    /// Passes every record that was in the ring at the call, without a limit. For use after the writers are detached, or when
    /// something else depends on their records. Terminates even if the kernel writes as fast as this reads.
    pub fn drain_all(&self, each: &mut Each<'_>) {
        let end = self.consumer().position(libbpf_sys::ring__producer_pos);
        loop {
            let before = self.consumer().position(libbpf_sys::ring__consumer_pos);
            self.drain(each);
            let after = self.consumer().position(libbpf_sys::ring__consumer_pos);
            // Without progress the next record is still being written.
            if after >= end || after == before {
                return;
            }
        }
    }

    /// Waits for `consumers_have_room`, but only until half of the ring is full: records in the ring are safe, new ones would be
    /// dropped once it is full.
    pub async fn wait_until_half_full(&self, consumers_have_room: impl Future<Output = ()>) {
        let half_full = async {
            while self.unread_bytes() < u64::from(self.bytes / 2) {
                sleep(YIELD_TIME).await;
            }
        };
        tokio::select! {
            () = consumers_have_room => {}
            () = half_full => {}
        }
    }

    fn unread_bytes(&self) -> u64 {
        let consumer = self.consumer();
        let end = consumer.position(libbpf_sys::ring__producer_pos);
        end.saturating_sub(consumer.position(libbpf_sys::ring__consumer_pos))
    }

    fn consumer(&self) -> MutexGuard<'_, Consumer> {
        self.consumer.lock()
    }

    /// The map's descriptor, to pass to another process.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.map.fd()
    }
}

impl Consumer {
    /// A position of the ring, in bytes since its creation: of the consumer or of the producers.
    fn position(&self, read: unsafe extern "C" fn(*const libbpf_sys::ring) -> c_ulong) -> u64 {
        // SAFETY: the consumer is alive and has exactly one ring.
        let ring = unsafe { libbpf_sys::ring_buffer__ring(self.inner.as_ptr(), 0) };
        // SAFETY: a ring of this consumer; null is not passed on.
        if ring.is_null() { 0 } else { unsafe { read(ring) } }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // SAFETY: made in `new`, freed once.
        unsafe { libbpf_sys::ring_buffer__free(self.inner.as_ptr()) };
    }
}

unsafe extern "C" fn on_record(context: *mut c_void, data: *mut c_void, size: libbpf_sys::size_t) -> i32 {
    // SAFETY: the context is the `Reader` given in `new`.
    let reader = unsafe { &*context.cast::<Reader>() };
    if let Some(mut each) = reader.get() {
        // SAFETY: libbpf gives a record of `size` bytes that stays until we return; the closure lives while `drain` runs.
        unsafe { (each.as_mut())(slice::from_raw_parts(data.cast::<u8>(), size as usize)) };
    }
    0
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fd: RawFd = self.map.fd().as_raw_fd();
        f.debug_struct("Ring").field("fd", &fd).finish()
    }
}

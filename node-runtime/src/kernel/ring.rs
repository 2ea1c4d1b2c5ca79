//! The reader's end of a ring buffer.

use std::{
    cell::Cell,
    ffi::{c_ulong, c_void},
    io, mem,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
    ptr::{self, NonNull},
    slice,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::Map;

/// Records that one call of `drain` gives at most.
const AT_ONCE: libbpf_sys::size_t = 2048;

/// So long after a read, at most, records gather before the next. The kernel wakes for the first alone: it wakes nobody
/// while the reader has not come to the end. A record that comes after a pause is read at once.
const GATHER: Duration = Duration::from_millis(5);
/// They gather for as long as it takes, at the pace of the last ones, to fill this part of the ring.
const GATHER_SHARE: u32 = 4;
/// A burst could fill a ring of fewer bytes at once.
const GATHERS_FROM: u32 = 64 << 10;

/// Others have so long between two reads of a ring that is not empty.
const TURN: Duration = Duration::from_millis(1);
/// A ring is looked at so often in any case. The kernel decides whether to wake by what it sees of the reader's place, which
/// the reader's processor may not have written yet; then nobody would be woken again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

type Each<'a> = dyn FnMut(&[u8]) + 'a;
/// What libbpf calls for each record: whoever drains just now.
type Reader = Cell<Option<NonNull<Each<'static>>>>;

/// A ring buffer and its one reader.
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

/// The last read.
#[derive(Clone, Copy)]
struct Drained {
    at: Instant,
    /// Records gather until then.
    next: Instant,
}

// SAFETY: libbpf's reader may be used from any thread, one at a time; the mutex sees to that.
unsafe impl Send for Consumer {}

impl Ring {
    pub(super) fn new(map: Map) -> io::Result<Self> {
        let reader: Box<Reader> = Box::new(Cell::new(None));
        let context = ptr::from_ref::<Reader>(&reader).cast_mut().cast::<c_void>();
        // SAFETY: the descriptor is a ring's; the context is on the heap and lives as long as the consumer, which frees it last.
        let inner =
            unsafe { libbpf_sys::ring_buffer__new(map.fd().as_raw_fd(), Some(on_record), context, ptr::null()) };
        let inner = NonNull::new(inner).ok_or_else(io::Error::last_os_error)?;
        Ok(Self {
            bytes: map.max_entries(),
            map,
            consumer: Mutex::new(Consumer { inner, reader, drained: None }),
            more: AtomicBool::new(false),
            readiness: OnceLock::new(),
        })
    }

    /// Waits until there may be a record, and some have gathered since the last read. Drain after it; it may wake once for
    /// nothing. Safe to give up.
    pub async fn readable(&self) -> io::Result<()> {
        if self.more.load(Ordering::Relaxed) {
            // The kernel wakes nobody for what was there already. Clients have their turn all the same: what they send is heard
            // when this thread waits. The next read says whether there is still more, so that this wait may be given up.
            sleep(TURN).await;
            return Ok(());
        }
        // Before the wait, not after it: a wait that is over must not be given up.
        let drained = self.consumer().drained;
        if let Some(drained) = drained {
            sleep_until(drained.next).await;
        }
        let readiness = match self.readiness.get() {
            Some(readiness) => readiness,
            None => {
                let fd = self.map.fd().try_clone_to_owned()?;
                // SAFETY: the descriptor is owned by what is made here, and closed with it.
                let made = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? };
                self.readiness.get_or_init(|| made)
            }
        };
        // Cleared before the reader drains: the kernel wakes again for what is committed behind the reader's back.
        if let Ok(ready) = timeout(LOOK_EVERY, readiness.readable()).await {
            ready?.clear_ready();
        }
        Ok(())
    }

    /// Gives the records that are there, and those that come meanwhile, up to a number that lets others have their turn.
    pub fn drain(&self, each: &mut Each<'_>) {
        let mut consumer = self.consumer();
        let each: NonNull<Each<'_>> = NonNull::from(each);
        // SAFETY: only the lifetime changes, and the pointer is taken back before this function returns.
        consumer.reader.set(Some(unsafe { mem::transmute::<NonNull<Each<'_>>, NonNull<Each<'static>>>(each) }));
        let before = consumer.position(libbpf_sys::ring__consumer_pos);
        // SAFETY: the consumer is alive and locked.
        let answer = unsafe { libbpf_sys::ring_buffer__consume_n(consumer.inner.as_ptr(), AT_ONCE) };
        consumer.reader.set(None);
        let taken = consumer.position(libbpf_sys::ring__consumer_pos) - before;
        let at = Instant::now();
        let during = consumer.drained.map_or(Duration::from_secs(1), |last| at - last.at);
        consumer.drained = Some(Drained { at, next: at + gather(self.bytes, taken, during) });
        self.more.store(answer >= 0 && answer as libbpf_sys::size_t >= AT_ONCE, Ordering::Relaxed);
        if answer < 0 {
            tracing::warn!(error = %io::Error::from_raw_os_error(-answer), "a ring could not be read");
        }
    }

    /// Gives every record that was there when it was called, however many those are; not without end where the kernel
    /// writes as fast as this reads. For when the writers are gone, or when something else depends on what they wrote.
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

    /// Waits for `others` to have room for what is in the ring, but not longer than it takes to fill half of it: what waits
    /// there is not lost, and what comes then would be.
    pub async fn wait_for(&self, others: impl Future<Output = ()>) {
        let half_full = async {
            while self.waiting() < u64::from(self.bytes / 2) {
                sleep(TURN).await;
            }
        };
        tokio::select! {
            () = others => {}
            () = half_full => {}
        }
    }

    /// Bytes that are not read yet.
    fn waiting(&self) -> u64 {
        let consumer = self.consumer();
        let end = consumer.position(libbpf_sys::ring__producer_pos);
        end.saturating_sub(consumer.position(libbpf_sys::ring__consumer_pos))
    }

    fn consumer(&self) -> MutexGuard<'_, Consumer> {
        self.consumer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The map's descriptor, to hand to another process.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.map.fd()
    }
}

impl Consumer {
    /// Bytes since the ring was made, up to its reader or its writers.
    fn position(&self, of: unsafe extern "C" fn(*const libbpf_sys::ring) -> c_ulong) -> u64 {
        // SAFETY: the consumer is alive, and has the one ring that it was made with.
        let ring = unsafe { libbpf_sys::ring_buffer__ring(self.inner.as_ptr(), 0) };
        // SAFETY: a ring of that consumer's, or null, which is not asked.
        if ring.is_null() { 0 } else { unsafe { of(ring) } }
    }
}

/// How long records of a ring of so many bytes gather, where `taken` bytes have come within `during`.
fn gather(bytes: u32, taken: u64, during: Duration) -> Duration {
    if bytes < GATHERS_FROM {
        return Duration::ZERO;
    }
    let share = f64::from(bytes / GATHER_SHARE) / taken.max(1) as f64;
    during.mul_f64(share).min(GATHER)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faster_records_come_the_sooner_they_are_read_and_a_small_ring_never_waits() {
        let ms = Duration::from_millis;
        assert_eq!(gather(256 << 10, 800, ms(1000)), GATHER);
        // 64 KiB in a millisecond fill a quarter of the ring in one.
        assert_eq!(gather(256 << 10, 64 << 10, ms(1)), ms(1));
        assert_eq!(gather(256 << 10, 0, ms(1)), GATHER);
        assert_eq!(gather(4 << 10, 800, ms(1000)), Duration::ZERO);
    }
}

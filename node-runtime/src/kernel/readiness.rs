//! Waiting for an owned descriptor in tokio. Rings have a wait of their own.

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Registers a descriptor with the reactor.
pub fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open and the same as long as it lives, and `AsyncFd`, which owns it, deregisters before closing.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

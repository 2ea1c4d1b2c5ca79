//! A netlink socket for one question at a time.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, setsockopt, socket,
        sockopt::ReceiveTimeout,
    },
    time::TimeVal,
};

use super::message::{Answer, Part, Request, parts};

/// So often a list is asked for again that has changed while it was told.
const TRIES: u32 = 3;

/// The kernel fills at most this much of a dump into one datagram.
const DATAGRAM: usize = 64 << 10;

pub(super) struct Socket(OwnedFd);

impl Socket {
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        // The kernel answers while it is being asked; this only keeps a bug from standing still.
        setsockopt(&socket, ReceiveTimeout, &TimeVal::new(2, 0))?;
        Ok(Self(socket))
    }

    /// Everything of a kind, as it was at one moment. Where it changes all the time that is an error, of the kind
    /// `Interrupted`.
    pub(super) fn dump(&self, request: &Request) -> io::Result<Vec<Answer>> {
        let request = request.finish(true);
        let mut tries = 1;
        loop {
            match self.exchange(&request) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted && tries < TRIES => tries += 1,
                answer => return answer,
            }
        }
    }

    /// One answer, or the kernel's refusal.
    pub(super) fn ask(&self, request: &Request) -> io::Result<Vec<Answer>> {
        self.exchange(&request.finish(false))
    }

    fn exchange(&self, request: &[u8]) -> io::Result<Vec<Answer>> {
        sendto(self.0.as_raw_fd(), request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut answers = Vec::new();
        let mut changed = false;
        let mut datagram = vec![0; DATAGRAM];
        loop {
            let length = recv(self.0.as_raw_fd(), &mut datagram, MsgFlags::empty())?;
            for part in parts(&datagram[..length]) {
                match part {
                    Part::Answer(answer) => answers.push(answer),
                    // Read to its end all the same, or the next answer would begin with the rest of this one.
                    Part::Changed => changed = true,
                    Part::End(0) if changed => return Err(io::ErrorKind::Interrupted.into()),
                    Part::End(0) => return Ok(answers),
                    Part::End(refused) => return Err(io::Error::from_raw_os_error(refused)),
                }
            }
        }
    }
}

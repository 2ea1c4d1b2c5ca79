//! A netlink socket for one request at a time.

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

/// A list that changed while it was written is requested this often.
const TRIES: u32 = 3;

/// The kernel writes at most this much of a dump into one datagram.
const DATAGRAM: usize = 64 << 10;

pub(super) struct Socket(OwnedFd);

impl Socket {
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        // The kernel answers within the request; the timeout only keeps a bug from blocking.
        setsockopt(&socket, ReceiveTimeout, &TimeVal::new(2, 0))?;
        Ok(Self(socket))
    }

    /// A consistent list. An `Interrupted` error if it keeps changing.
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

    /// One answer, or the kernel's error.
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
                    // The rest must be read all the same, or the next answer would begin with it.
                    Part::Changed => changed = true,
                    Part::End(0) if changed => return Err(io::ErrorKind::Interrupted.into()),
                    Part::End(0) => return Ok(answers),
                    Part::End(refused) => return Err(io::Error::from_raw_os_error(refused)),
                }
            }
        }
    }
}

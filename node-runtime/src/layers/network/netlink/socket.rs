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

    /// Everything of a kind.
    pub(super) fn dump(&self, request: &Request) -> io::Result<Vec<Answer>> {
        self.exchange(&request.finish(true))
    }

    /// One answer, or the kernel's refusal.
    pub(super) fn ask(&self, request: &Request) -> io::Result<Vec<Answer>> {
        self.exchange(&request.finish(false))
    }

    fn exchange(&self, request: &[u8]) -> io::Result<Vec<Answer>> {
        sendto(self.0.as_raw_fd(), request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut answers = Vec::new();
        let mut datagram = vec![0; DATAGRAM];
        loop {
            let length = recv(self.0.as_raw_fd(), &mut datagram, MsgFlags::empty())?;
            for part in parts(&datagram[..length]) {
                match part {
                    Part::Answer(answer) => answers.push(answer),
                    Part::End(0) => return Ok(answers),
                    Part::End(refused) => return Err(io::Error::from_raw_os_error(refused)),
                }
            }
        }
    }
}

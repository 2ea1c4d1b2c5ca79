//! The socket between agent and worker: one message is one packet, with the file descriptors that belong to it.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
};

/// Bytes of the longest message.
pub const MESSAGE_MAX: usize = 64 << 10;
/// File descriptors that one message may carry.
pub const FDS_MAX: usize = 16;

/// A received message, not decoded yet.
pub struct Packet {
    /// The encoded message; empty when the peer has closed its end.
    pub bytes: Vec<u8>,
    /// The file descriptors that came with it.
    pub fds: Vec<OwnedFd>,
}

/// Two connected ends. The socket keeps packet boundaries, so a message needs no length prefix.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message. Without `wait`, a full socket gives `WouldBlock`.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>], wait: bool) -> io::Result<()> {
    if bytes.is_empty() || bytes.len() > MESSAGE_MAX || fds.len() > FDS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a message above its limits"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for a message"));
    }
    let flags = if wait { SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL | SendFlags::DONTWAIT };
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)?;
    Ok(())
}

/// Receives one message. The caller keeps `buffer` between calls, so that an idle process allocates nothing.
pub fn receive(socket: impl AsFd, buffer: &mut Vec<u8>, wait: bool) -> io::Result<Packet> {
    buffer.resize(MESSAGE_MAX, 0);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = if wait { RecvFlags::CMSG_CLOEXEC } else { RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT };
    let mut receive = || recvmsg(socket.as_fd(), &mut [IoSliceMut::new(buffer)], &mut control, flags);
    // The peer has closed its end before it read everything. The kernel says so once, before it gives what the peer had sent.
    let message = match receive() {
        Err(Errno::CONNRESET) => receive()?,
        other => other?,
    };
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            fds.extend(rights);
        }
    }
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message above its limits"));
    }
    Ok(Packet { bytes: buffer[..message.bytes].to_vec(), fds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptor_arrives_with_its_message() {
        let (left, right) = pair().unwrap();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        send(&left, b"one", &[file.as_fd()], true).unwrap();
        send(&left, b"two", &[], true).unwrap();
        let mut buffer = Vec::new();
        let first = receive(&right, &mut buffer, true).unwrap();
        let second = receive(&right, &mut buffer, true).unwrap();
        assert_eq!((first.bytes.as_slice(), first.fds.len()), (b"one".as_slice(), 1));
        assert_eq!((second.bytes.as_slice(), second.fds.len()), (b"two".as_slice(), 0));
    }

    #[test]
    fn message_above_the_limit_is_not_sent() {
        let (left, _right) = pair().unwrap();
        assert!(send(&left, &vec![0; MESSAGE_MAX + 1], &[], true).is_err());
    }

    #[test]
    fn last_words_of_a_peer_arrive_though_it_did_not_read_everything() {
        let (left, right) = pair().unwrap();
        send(&left, b"result", &[], true).unwrap();
        send(&right, b"too late", &[], true).unwrap();
        drop(left);
        let mut buffer = Vec::new();
        assert_eq!(receive(&right, &mut buffer, true).unwrap().bytes, b"result");
        assert!(receive(&right, &mut buffer, true).unwrap().bytes.is_empty());
    }

    #[test]
    fn closed_peer_reads_as_no_bytes() {
        let (left, right) = pair().unwrap();
        drop(left);
        assert!(receive(&right, &mut Vec::new(), true).unwrap().bytes.is_empty());
    }
}

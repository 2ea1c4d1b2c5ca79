//! The sockets of a network namespace, as `/proc/PID/net` lists them. Netlink's sock_diag would list those of the agent's own
//! namespace only: to enter another needs CAP_SYS_ADMIN, which the agent does not have.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use super::ports::EPHEMERAL;
use crate::layers::network::decode::Transport;

/// Lines that are read of a list.
const LINES: usize = 4096;

const TCP_LISTEN: u8 = 0x0a;
const CONNECTED: u8 = 0x01;

/// TCP sockets that listen, and UDP sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketTable {
    listening: HashSet<SocketAddr>,
    /// UDP sockets without a peer.
    bound: HashSet<SocketAddr>,
    /// UDP sockets with a peer: own address and the peer's.
    connected: HashSet<(SocketAddr, SocketAddr)>,
    /// A list was cut: a missing socket proves nothing.
    is_cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    own: SocketAddr,
    peer: SocketAddr,
    state: u8,
}

impl SocketTable {
    /// Reads `folder`, e.g. `/proc/17/net`. A family that the kernel does not have has no list.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut table = Self::default();
        for (name, is_tcp) in [("tcp", true), ("tcp6", true), ("udp", false), ("udp6", false)] {
            match File::open(folder.join(name)) {
                Ok(file) => table.add_list(BufReader::new(file), is_tcp)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound && name.ends_with('6') => {}
                Err(error) => return Err(error),
            }
        }
        Ok(table)
    }

    fn add_list(&mut self, list: impl BufRead, is_tcp: bool) -> io::Result<()> {
        for (at, line) in list.lines().skip(1).enumerate() {
            let Some(socket) = parse(&line?) else { continue };
            // The kernel lists TCP sockets that listen before all others.
            if is_tcp && socket.state != TCP_LISTEN {
                break;
            }
            if at >= LINES {
                self.is_cut = true;
                break;
            }
            if is_tcp {
                self.listening.insert(socket.own);
            } else if socket.state == CONNECTED {
                self.connected.insert((socket.own, socket.peer));
            } else {
                self.bound.insert(socket.own);
            }
        }
        Ok(())
    }

    /// Whether the end at `own` is the server of a connection with `peer`; none if the sockets do not say.
    pub(super) fn is_server(&self, transport: Transport, own: SocketAddr, peer: SocketAddr) -> Option<bool> {
        match transport {
            // It is older than the table: if nothing listened there, the socket was connected from here.
            Transport::Tcp if has(&self.listening, own) => Some(true),
            Transport::Tcp => (!self.is_cut).then_some(false),
            Transport::Udp if self.connected.contains(&(own, peer)) => Some(false),
            // A client without a peer gets an ephemeral port as well.
            Transport::Udp if own.port() < EPHEMERAL && has(&self.bound, own) => Some(true),
            Transport::Udp => None,
        }
    }

    pub(super) fn has_no_udp(&self) -> bool {
        self.bound.is_empty() && self.connected.is_empty() && !self.is_cut
    }

    #[cfg(test)]
    pub(super) fn with_sockets(listening: &[&str], bound: &[&str], connected: &[(&str, &str)]) -> Self {
        let address = |text: &&str| text.parse().unwrap();
        Self {
            listening: listening.iter().map(address).collect(),
            bound: bound.iter().map(address).collect(),
            connected: connected.iter().map(|(own, peer)| (address(own), address(peer))).collect(),
            is_cut: false,
        }
    }
}

/// A socket of one family may serve the other as well, at the unspecified address.
fn has(sockets: &HashSet<SocketAddr>, own: SocketAddr) -> bool {
    let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    sockets.contains(&own) || any.iter().any(|any| sockets.contains(&SocketAddr::new(*any, own.port())))
}

/// `0: 0100007F:1F90 00000000:0000 0A ...`
fn parse(line: &str) -> Option<Socket> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let own = address(words.next()?)?;
    let peer = address(words.next()?)?;
    Some(Socket { own, peer, state: u8::from_str_radix(words.next()?, 16).ok()? })
}

/// The address is printed as words of the machine's byte order, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match address.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            IpAddr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sockets_of_this_process_are_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let v6 = TcpListener::bind("[::]:0").unwrap();
        let bound = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(bound.local_addr().unwrap()).unwrap();
        let table = SocketTable::read(Path::new("/proc/thread-self/net")).unwrap();
        assert!(table.listening.contains(&listener.local_addr().unwrap()));
        assert!(table.bound.contains(&bound.local_addr().unwrap()));
        let (own, peer) = (client.local_addr().unwrap(), bound.local_addr().unwrap());
        assert_eq!(table.is_server(Transport::Udp, own, peer), Some(false));
        let at_any = SocketAddr::new("10.1.0.7".parse().unwrap(), v6.local_addr().unwrap().port());
        assert_eq!(table.is_server(Transport::Tcp, at_any, peer), Some(true));
    }

    #[test]
    fn list_is_read_up_to_the_first_socket_that_does_not_listen() {
        let list = "  sl  local_address rem_address   st\n\
                    0: 0700010A:C383 00000000:0000 0A 00000000:00000000\n\
                    1: 0700010A:9C40 0900020A:0050 01 00000000:00000000\n\
                    2: 0700010A:9C41 00000000:0000 0A 00000000:00000000\n";
        let mut table = SocketTable::default();
        table.add_list(list.as_bytes(), true).unwrap();
        if cfg!(target_endian = "little") {
            assert_eq!(table, SocketTable::with_sockets(&["10.1.0.7:50051"], &[], &[]));
        }
    }

    #[test]
    fn datagram_socket_with_an_ephemeral_port_may_be_a_clients() {
        let table = SocketTable::with_sockets(&[], &["0.0.0.0:7000", "10.1.0.7:40000"], &[]);
        let peer = "10.2.0.9:50000".parse().unwrap();
        let role = |own: &str| table.is_server(Transport::Udp, own.parse().unwrap(), peer);
        assert_eq!((role("10.1.0.7:7000"), role("10.1.0.7:40000")), (Some(true), None));
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "[ 0-9A-F:]{0,80}|.{0,40}") {
            let _ = parse(&line);
        }
    }
}

//! Does the agent answer? For the kubelet's probes: cheap, and without a gRPC client. Being connected proves nothing, the
//! kernel does that by itself; so the first words of HTTP/2 are spoken, which the agent's one thread has to answer.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::Context;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// How long the agent may take.
const WITHIN: Duration = Duration::from_secs(2);
/// What a client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head: length (3), kind, flags, stream (4).
const HEAD: usize = 9;
/// The kind of a frame of settings.
const SETTINGS: u8 = 4;

/// Ends well when the agent sends its settings.
pub(super) fn run(socket: &Path) -> anyhow::Result<()> {
    answers(socket, WITHIN).with_context(|| format!("no agent answers at {}", socket.display()))
}

fn answers(socket: &Path, within: Duration) -> io::Result<()> {
    // Without waiting: where nobody accepts any more the queue is full, and connecting would last for ever.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&fd, &SocketAddrUnix::new(socket)?)?;
    let mut stream = UnixStream::from(fd);
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(within))?;
    stream.set_read_timeout(Some(within))?;
    let mut hello = PREFACE.to_vec();
    // Settings of our own, of which there are none.
    hello.extend([0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]);
    stream.write_all(&hello)?;
    let mut head = [0; HEAD];
    stream.read_exact(&mut head)?;
    if head[3] != SETTINGS {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "what answers does not speak HTTP/2"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::{
        net::UnixListener,
        sync::{oneshot, watch},
        task::spawn_blocking,
    };
    use tonic::service::Routes;

    use super::*;
    use crate::serve::router;

    #[tokio::test]
    async fn an_agent_that_serves_is_ready() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let (end, ended) = oneshot::channel();
        let (_flows, refused) = watch::channel(false);
        let listener = UnixListener::bind(&path).unwrap();
        let serving = tokio::spawn(router::serve(listener, Routes::default(), refused, ended));
        spawn_blocking(move || answers(&path, WITHIN)).await.unwrap().unwrap();
        drop(end);
        serving.await.unwrap().unwrap();
    }

    #[test]
    fn an_agent_whose_thread_hangs_is_not_ready_although_it_can_be_connected_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let error = answers(&path, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}

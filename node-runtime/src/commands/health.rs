//! `trilobite-node ready`: the kubelet's probe. A connection alone proves nothing, because the kernel accepts it; the probe sends
//! the HTTP/2 preface, which the agent's only thread has to answer. No gRPC client is needed.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::Context;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

const TIMEOUT: Duration = Duration::from_secs(2);
/// The HTTP/2 connection preface.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame header: length (3), type, flags, stream (4).
const FRAME_HEADER: usize = 9;
/// The type of a SETTINGS frame.
const SETTINGS: u8 = 4;

/// Succeeds when the agent sends its SETTINGS frame.
pub(super) fn check(socket: &Path) -> anyhow::Result<()> {
    query(socket, TIMEOUT).with_context(|| format!("no agent answers at {}", socket.display()))
}

fn query(socket: &Path, within: Duration) -> io::Result<()> {
    // Non-blocking: with a full accept queue a blocking connect would never return.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&fd, &SocketAddrUnix::new(socket)?)?;
    let mut stream = UnixStream::from(fd);
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(within))?;
    stream.set_read_timeout(Some(within))?;
    let mut hello = PREFACE.to_vec();
    // Our own SETTINGS frame, without any setting.
    hello.extend([0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]);
    stream.write_all(&hello)?;
    let mut head = [0; FRAME_HEADER];
    stream.read_exact(&mut head)?;
    if head[3] != SETTINGS {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the server does not speak HTTP/2"));
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
    use crate::serve::router::Services;

    #[tokio::test]
    async fn serving_agent_is_ready() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let (end, ended) = oneshot::channel();
        let (_flows, refused) = watch::channel(false);
        let listener = UnixListener::bind(&path).unwrap();
        let serving = tokio::spawn(Services::new(Routes::default()).serve_socket(listener, refused, ended));
        spawn_blocking(move || query(&path, TIMEOUT)).await.unwrap().unwrap();
        drop(end);
        serving.await.unwrap().unwrap();
    }

    #[test]
    fn agent_with_a_hanging_thread_is_not_ready() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let error = query(&path, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}

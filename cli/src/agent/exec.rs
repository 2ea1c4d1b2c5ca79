//! One stream of bytes to an agent, both ways: an exec of `trilobite-node proxy` in its pod, or its socket.

use std::{
    io,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{AttachParams, AttachedProcess},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, ReadHalf, SimplexStream, WriteHalf},
    net::UnixStream,
};

use crate::failure::chain;

/// The agent's way in.
const PROXY: &str = "proxy";
/// Bytes held for a side that is slower than the other.
const BUFFER: usize = 64 << 10;
/// Bytes of the proxy's complaint that are kept.
const COMPLAINT: usize = 1024;

/// Where the stream leads.
#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "one per node")]
pub(crate) enum Way {
    /// Into a container of a pod, whose `program` is the agent.
    Exec { pods: Api<Pod>, pod: String, container: String, program: String },
    /// To a socket of this machine.
    Socket(PathBuf),
}

/// An open stream.
pub(crate) enum Joined {
    Exec(Box<Exec>),
    Socket(UnixStream),
}

/// The remote process and its three streams; dropping it ends the process.
pub(crate) struct Exec {
    _process: AttachedProcess,
    stdin: WriteHalf<SimplexStream>,
    stdout: ReadHalf<SimplexStream>,
    complaint: Arc<Mutex<Vec<u8>>>,
    answered: bool,
}

impl Way {
    /// Opens it.
    pub(crate) async fn open(&self) -> io::Result<Joined> {
        match self {
            Self::Socket(path) => Ok(Joined::Socket(UnixStream::connect(path).await?)),
            Self::Exec { pods, pod, container, program } => {
                let how = AttachParams::default()
                    .container(container)
                    .stdin(true)
                    .stdout(true)
                    .stderr(true)
                    .max_stdin_buf_size(BUFFER)
                    .max_stdout_buf_size(BUFFER);
                let process = pods.exec(pod, [program.as_str(), PROXY], &how).await.map_err(refused)?;
                Ok(Joined::Exec(Box::new(Exec::new(process)?)))
            }
        }
    }
}

fn refused(error: kube::Error) -> io::Error {
    let text = chain(&error);
    let forbidden = matches!(&error, kube::Error::Api(status) if status.code == 403) || text.contains("403");
    let hint = if forbidden { " (this needs the right to create pods/exec there)" } else { "" };
    io::Error::other(format!("exec of 'trilobite-node proxy': {text}{hint}"))
}

impl Exec {
    fn new(mut process: AttachedProcess) -> io::Result<Self> {
        let missing = || io::Error::other("the API server gave the exec no streams");
        let stdin = process.stdin().ok_or_else(missing)?;
        let stdout = process.stdout().ok_or_else(missing)?;
        let mut stderr = process.stderr().ok_or_else(missing)?;
        let complaint = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&complaint);
        tokio::spawn(async move {
            let mut bytes = [0; 256];
            while let Ok(count @ 1..) = stderr.read(&mut bytes).await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let room = COMPLAINT.saturating_sub(kept.len());
                kept.extend(bytes.iter().take(count.min(room)));
            }
        });
        Ok(Self { _process: process, stdin, stdout, complaint, answered: false })
    }

    /// What the proxy said on standard error, for an end that came before any answer.
    fn complaint(&self) -> Option<io::Error> {
        let kept = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&kept).trim().replace('\n', "; ");
        (!text.is_empty()).then(|| io::Error::other(text))
    }
}

impl AsyncRead for Joined {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Exec(exec) => {
                let before = buf.filled().len();
                let polled = Pin::new(&mut exec.stdout).poll_read(cx, buf);
                if let Poll::Ready(Ok(())) = polled {
                    let ended = buf.filled().len() == before && buf.remaining() > 0;
                    if ended && !exec.answered {
                        let end = || io::Error::other("'trilobite-node proxy' ended without an answer");
                        return Poll::Ready(Err(exec.complaint().unwrap_or_else(end)));
                    }
                    exec.answered = true;
                }
                polled
            }
        }
    }
}

impl AsyncWrite for Joined {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Socket(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Exec(exec) => Pin::new(&mut exec.stdin).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(stream) => Pin::new(stream).poll_flush(cx),
            Self::Exec(exec) => Pin::new(&mut exec.stdin).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Exec(exec) => Pin::new(&mut exec.stdin).poll_shutdown(cx),
        }
    }
}

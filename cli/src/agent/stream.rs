//! A two-way stream of bytes to an agent: an exec of `trilobite-node proxy` in its pod, or its socket.

use std::{
    io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{AttachParams, AttachedProcess},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, ReadHalf, SimplexStream, WriteHalf},
    net::UnixStream,
};

use crate::error_chain::error_chain;

/// The subcommand that joins standard input and output to the agent's socket.
const PROXY: &str = "proxy";
/// Bytes buffered in each direction.
const BUFFER: usize = 64 << 10;
/// Bytes of the proxy's standard error that are kept for an error message.
const STDERR_LIMIT: usize = 1024;

/// How to reach one agent.
#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "one per node")]
pub(crate) enum Route {
    /// `program` is the agent's binary in the container.
    Exec { pods: Api<Pod>, pod: String, container: String, program: String },
    /// A socket of this machine.
    Socket(PathBuf),
}

/// An open stream.
pub(crate) enum AgentStream {
    Exec(Box<ExecStream>),
    Socket(UnixStream),
}

/// The remote process and its three streams; dropping it ends the process.
pub(crate) struct ExecStream {
    _process: AttachedProcess,
    stdin: WriteHalf<SimplexStream>,
    stdout: ReadHalf<SimplexStream>,
    /// What the proxy wrote to standard error.
    stderr: Arc<Mutex<Vec<u8>>>,
    answered: bool,
}

impl Route {
    pub(crate) async fn open(&self) -> io::Result<AgentStream> {
        match self {
            Self::Socket(path) => Ok(AgentStream::Socket(UnixStream::connect(path).await?)),
            Self::Exec { pods, pod, container, program } => {
                let how = AttachParams::default()
                    .container(container)
                    .stdin(true)
                    .stdout(true)
                    .stderr(true)
                    .max_stdin_buf_size(BUFFER)
                    .max_stdout_buf_size(BUFFER);
                let process = pods.exec(pod, [program.as_str(), PROXY], &how).await.map_err(refused)?;
                Ok(AgentStream::Exec(Box::new(ExecStream::new(process)?)))
            }
        }
    }
}

fn refused(error: kube::Error) -> io::Error {
    let text = error_chain(&error);
    let forbidden = matches!(&error, kube::Error::Api(status) if status.code == 403) || text.contains("403");
    let hint = if forbidden { " (this needs the rights create and get on pods/exec there)" } else { "" };
    io::Error::other(format!("exec of 'trilobite-node proxy': {text}{hint}"))
}

impl ExecStream {
    fn new(mut process: AttachedProcess) -> io::Result<Self> {
        let missing = || io::Error::other("the API server gave the exec no streams");
        let stdin = process.stdin().ok_or_else(missing)?;
        let stdout = process.stdout().ok_or_else(missing)?;
        let mut stderr = process.stderr().ok_or_else(missing)?;
        let collected = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&collected);
        tokio::spawn(async move {
            let mut bytes = [0; 256];
            while let Ok(count @ 1..) = stderr.read(&mut bytes).await {
                let mut kept = kept.lock();
                let room = STDERR_LIMIT.saturating_sub(kept.len());
                kept.extend(bytes.iter().take(count.min(room)));
            }
        });
        Ok(Self { _process: process, stdin, stdout, stderr: collected, answered: false })
    }

    /// The proxy's message, for a stream that ends before any answer.
    fn proxy_error(&self) -> Option<io::Error> {
        let kept = self.stderr.lock();
        let text = String::from_utf8_lossy(&kept).trim().replace('\n', "; ");
        (!text.is_empty()).then(|| io::Error::other(text))
    }
}

impl AsyncRead for AgentStream {
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
                        return Poll::Ready(Err(exec.proxy_error().unwrap_or_else(end)));
                    }
                    exec.answered = true;
                }
                polled
            }
        }
    }
}

impl AsyncWrite for AgentStream {
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

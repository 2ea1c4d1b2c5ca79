//! A connection of the relay, which can be cut: a stream of events never ends by itself.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;
use trilobite_crds::read_api::AGENT_PORT;

use crate::{certificate::is_hubble_relay, serve::port_client::PortClient};

/// Reads and writes fail once it is cut.
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    client: PortClient,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    is_cut: bool,
}

impl Connection {
    pub(super) fn new(stream: TlsStream<TcpStream>, cut: CancellationToken) -> Self {
        let (tcp, tls) = stream.get_ref();
        let is_hubble = tls.peer_certificates().and_then(<[_]>::first).is_some_and(is_hubble_relay);
        let client = match is_hubble {
            true => PortClient::HubbleRelay { port: tcp.local_addr().map_or(AGENT_PORT, |address| address.port()) },
            false => PortClient::Relay,
        };
        Self { stream, client, cut: Box::pin(cut.cancelled_owned()), is_cut: false }
    }

    /// Wakes the task that polls once the connection is cut.
    fn check_cut(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        self.is_cut = self.is_cut || self.cut.as_mut().poll(context).is_ready();
        if self.is_cut {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the port is closed"));
        }
        Ok(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_cut(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_cut {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_cut {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_cut {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for Connection {
    type ConnectInfo = PortClient;

    fn connect_info(&self) -> PortClient {
        self.client
    }
}

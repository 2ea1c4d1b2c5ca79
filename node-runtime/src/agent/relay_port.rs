//! Opens and closes the port for the relay, as the desired state says. While none is wanted there is no key, no listener and
//! no task.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use kube::Client;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use trilobite_crds::read_api::Listen;

use crate::{
    certificate::{PortCertificate, PortNames},
    problem::Problem,
    report::listen::listen,
    serve::{port::OpenPort, router::Services},
};

/// Every address of the node.
const ANY: &str = "[::]";

pub(crate) struct RelayPort {
    services: Services,
    node: String,
    client: Arc<OnceLock<Client>>,
    port_problem: watch::Sender<Option<Problem>>,
    certificate_problem: watch::Sender<Option<Problem>>,
    held: Option<HeldPort>,
}

/// A port that is open, or that waits for its certificate or for its address.
struct HeldPort {
    listen: Listen,
    closing: CancellationToken,
    task: JoinHandle<()>,
}

impl RelayPort {
    pub(super) fn new(services: Services, node: String, client: Arc<OnceLock<Client>>) -> Self {
        let ((port_problem, _), (certificate_problem, _)) = (watch::channel(None), watch::channel(None));
        Self { services, node, client, port_problem, certificate_problem, held: None }
    }

    pub(super) fn port_problem(&self) -> watch::Receiver<Option<Problem>> {
        self.port_problem.subscribe()
    }

    pub(super) fn certificate_problem(&self) -> watch::Receiver<Option<Problem>> {
        self.certificate_problem.subscribe()
    }

    /// Opens, moves or closes the port. Without an API server there is no certificate, so the port stays closed.
    pub(super) async fn apply(&mut self, listen: Option<&Listen>) {
        if self.held.as_ref().map(|held| &held.listen) == listen {
            return;
        }
        self.close().await;
        let (Some(listen), Some(client)) = (listen, self.client.get()) else { return };
        let Some(address) = socket_address(&listen.address) else {
            let detail = "it is not an address and a port, e.g. [::]:4244".into();
            self.port_problem.send_replace(Some(Problem::PortTaken { address: listen.address.clone(), detail }));
            return;
        };
        let names = PortNames { node: self.node.clone(), relay: listen.relay_identity.clone() };
        let certificate = PortCertificate::hold(client.clone(), names, self.certificate_problem.clone());
        let closing = CancellationToken::new();
        let open = keep_open(address, certificate, self.services.clone(), self.port_problem.clone(), closing.clone());
        self.held = Some(HeldPort { listen: listen.clone(), closing, task: tokio::spawn(open) });
    }

    /// Returns once the address is free again; open calls get a moment more.
    pub(super) async fn close(&mut self) {
        if let Some(HeldPort { closing, task, .. }) = self.held.take() {
            closing.cancel();
            // Fails only where the task has panicked, and closed the port so.
            let _ = task.await;
        }
        self.port_problem.send_replace(None);
        self.certificate_problem.send_replace(None);
    }
}

/// Serves the port until `closing`.
async fn keep_open(
    address: SocketAddr,
    mut certificate: PortCertificate,
    services: Services,
    problem: watch::Sender<Option<Problem>>,
    closing: CancellationToken,
) {
    let opened = closing.run_until_cancelled(async {
        // Fails only where the certificate's tasks have ended, which they do with it.
        let _ = certificate.config.wait_for(Option::is_some).await;
        let taken = |address, detail| Problem::PortTaken { address, detail };
        listen(address, &problem, taken).await
    });
    let Some(listener) = opened.await else { return };
    match OpenPort::serve(listener, certificate.config.clone(), services) {
        Ok(port) => {
            tracing::info!(address = %port.address(), "the relay's port is open");
            closing.cancelled().await;
            port.close().await;
            tracing::info!(%address, "the relay's port is closed");
        }
        Err(error) => tracing::error!(%error, "opening the relay's port"),
    }
}

/// `[::]:4244`, `10.0.0.1:4244` or `:4244`.
fn socket_address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix(':') {
        Some(port) => format!("{ANY}:{port}").parse().ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::ErrorKind, time::Duration};

    use tokio::{
        net::{TcpListener, TcpStream},
        time::sleep,
    };
    use tonic::service::Routes;

    use super::*;
    use crate::certificate::tests::TestAuthority;

    fn services() -> Services {
        Services::new(Routes::default())
    }

    /// An address that was free a moment ago.
    async fn free_address() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
        for _ in 0..500 {
            if holds().await {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}: not within 5 s");
    }

    async fn is_open(address: SocketAddr) -> bool {
        TcpStream::connect(address).await.is_ok()
    }

    #[test]
    fn address_without_a_host_is_every_address() {
        assert_eq!(socket_address(":4244"), "[::]:4244".parse().ok());
        assert_eq!(socket_address("10.0.0.1:4244"), "10.0.0.1:4244".parse().ok());
        assert_eq!(
            (socket_address("4244"), socket_address("node1:4244"), socket_address(":70000")),
            (None, None, None)
        );
    }

    #[tokio::test]
    async fn port_opens_with_its_certificate_and_closes_when_it_is_not_wanted() {
        let (address, closing) = (free_address().await, CancellationToken::new());
        let (config, current) = watch::channel(None);
        let (problem, _) = watch::channel(None);
        let certificate = PortCertificate::of_test(current);
        let port = tokio::spawn(keep_open(address, certificate, services(), problem, closing.clone()));
        sleep(Duration::from_millis(50)).await;
        assert!(!is_open(address).await, "there is no certificate yet");
        config.send_replace(Some(TestAuthority::new().node_config()));
        until("the port is open", async || is_open(address).await).await;
        closing.cancel();
        port.await.unwrap();
        assert_eq!(TcpStream::connect(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert!(config.is_closed(), "the certificate was not forgotten");
    }

    #[tokio::test]
    async fn taken_port_is_reported_and_opened_once_it_is_free() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = other.local_addr().unwrap();
        let (_config, current) = watch::channel(Some(TestAuthority::new().node_config()));
        let (problem, mut problems) = watch::channel(None);
        let (certificate, closing) = (PortCertificate::of_test(current), CancellationToken::new());
        let port = tokio::spawn(keep_open(address, certificate, services(), problem, closing.clone()));
        let taken = problems.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        assert_eq!(taken.reason().as_str(), "PortTaken");
        assert!(taken.message().contains(&address.to_string()), "{}", taken.message());
        drop(other);
        problems.wait_for(Option::is_none).await.unwrap();
        until("the port is open", async || is_open(address).await).await;
        closing.cancel();
        port.await.unwrap();
    }

    #[tokio::test]
    async fn without_an_api_server_nothing_is_held() {
        let mut port = RelayPort::new(services(), "alder".into(), Arc::default());
        let listen = Listen { address: free_address().await.to_string(), relay_identity: "trilobite-relay".into() };
        port.apply(Some(&listen)).await;
        assert!(port.held.is_none());
        assert_eq!((port.port_problem().borrow().clone(), port.certificate_problem().borrow().clone()), (None, None));
        port.apply(None).await;
    }
}

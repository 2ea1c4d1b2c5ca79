//! Both ends of gRPC calls, of tonic: the service of health.

use std::time::Duration;

use tokio::{net::TcpListener, runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Request,
    transport::{Channel, Endpoint, Server},
};
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, health_client::HealthClient},
};

/// A service whose health is known, and one that is not.
const KNOWN: &str = "shop.Cart";
const UNKNOWN: &str = "shop.Till";
/// Every so many calls one for the other service is made.
const FAILS_EVERY: u16 = 10;

/// Serves health on a port, calls it so many times, and watches it for two messages.
pub(crate) fn call_in_this_process(port: u16, calls: u16) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status(KNOWN, ServingStatus::Serving).await;
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let server = Server::builder().add_service(health).serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(server);
        let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect().await.unwrap();
        let mut client = HealthClient::new(channel);
        for number in 0..calls {
            client.check(check(KNOWN)).await.unwrap();
            if number % FAILS_EVERY == 0 {
                let failed = client.check(check(UNKNOWN)).await.unwrap_err();
                assert_eq!(failed.code(), Code::NotFound);
            }
        }
        watch(&mut client, &reporter).await;
        // Until the reset has been sent.
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(client);
        server.abort();
    });
}

async fn watch(client: &mut HealthClient<Channel>, reporter: &tonic_health::server::HealthReporter) {
    let mut watch = client.watch(check(KNOWN)).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    reporter.set_service_status(KNOWN, ServingStatus::NotServing).await;
    watch.message().await.unwrap().unwrap();
}

/// With a secret in its metadata.
fn check(service: &str) -> Request<HealthCheckRequest> {
    let mut request = Request::new(HealthCheckRequest { service: service.to_owned() });
    request.metadata_mut().insert("x-user", "anglerfish".parse().unwrap());
    request.metadata_mut().insert("authorization", "Bearer anglerfish".parse().unwrap());
    request
}

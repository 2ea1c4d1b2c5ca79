//! Where `/metrics` listens. A port that is taken, or a node without IPv6, is said and tried again: it never ends the agent.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch, time::sleep};

use super::Problem;

/// How soon an address that could not be had is asked for again.
const RETRY: Duration = Duration::from_secs(10);

/// A listener on `address`, or on every IPv4 address where there is no IPv6. While there is none, `trouble` says why.
pub async fn listen(address: SocketAddr, trouble: &watch::Sender<Option<Problem>>) -> TcpListener {
    keep_asking(address, trouble, RETRY).await
}

async fn keep_asking(address: SocketAddr, trouble: &watch::Sender<Option<Problem>>, every: Duration) -> TcpListener {
    loop {
        match bind(address).await {
            Ok(listener) => {
                trouble.send_replace(None);
                return listener;
            }
            Err(error) => {
                let problem = Problem::MetricsNotServed { address: address.to_string(), detail: error.to_string() };
                if trouble.borrow().as_ref() != Some(&problem) {
                    tracing::warn!("{}", problem.message());
                    trouble.send_replace(Some(problem));
                }
                sleep(every).await;
            }
        }
    }
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && is_without_ipv6(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

/// Neither a kernel without IPv6 nor one where it is switched off has `[::]`; a port that is taken is taken on both.
fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_is_said_and_had_when_it_is_free() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = other.local_addr().unwrap();
        let (trouble, mut heard) = watch::channel(None);
        let every = Duration::from_millis(10);
        let listening = tokio::spawn(async move { keep_asking(address, &trouble, every).await.local_addr().unwrap() });
        heard.wait_for(Option::is_some).await.unwrap();
        assert!(matches!(&*heard.borrow(), Some(Problem::MetricsNotServed { .. })));
        drop(other);
        assert_eq!(listening.await.unwrap(), address);
    }

    #[test]
    fn only_a_node_without_ipv6_falls_back_to_ipv4() {
        let is = |error| is_without_ipv6(&io::Error::from_raw_os_error(error));
        assert!(is(libc::EAFNOSUPPORT) && is(libc::EADDRNOTAVAIL) && !is(libc::EADDRINUSE));
    }
}

//! Binds an address of the node. A port that is taken is reported and retried; a node without IPv6 falls back to IPv4.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch, time::sleep};

use crate::problem::Problem;

const RETRY_DELAY: Duration = if cfg!(test) { Duration::from_millis(10) } else { Duration::from_secs(10) };

/// The problem of an address, and the system's words.
type BindProblem = fn(address: String, detail: String) -> Problem;

/// A listener on `address`, or on `0.0.0.0` where `[::]` was asked for and there is no IPv6. Until it exists, `problem_sender` has
/// the problem.
pub async fn listen(
    address: SocketAddr,
    problem_sender: &watch::Sender<Option<Problem>>,
    problem: BindProblem,
) -> TcpListener {
    loop {
        match bind(address).await {
            Ok(listener) => {
                problem_sender.send_replace(None);
                return listener;
            }
            Err(error) => {
                let problem = problem(address.to_string(), error.to_string());
                if problem_sender.borrow().as_ref() != Some(&problem) {
                    tracing::warn!("{}", problem.message());
                    problem_sender.send_replace(Some(problem));
                }
                sleep(RETRY_DELAY).await;
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

/// The errors of `[::]` on a kernel without IPv6 and on one where it is disabled; a taken port gives EADDRINUSE instead.
fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn taken_port_is_reported_and_bound_once_free() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = other.local_addr().unwrap();
        let (problem_sender, mut problems) = watch::channel(None);
        let problem = |address, detail| Problem::PortTaken { address, detail };
        let listening =
            tokio::spawn(async move { listen(address, &problem_sender, problem).await.local_addr().unwrap() });
        problems.wait_for(Option::is_some).await.unwrap();
        assert!(matches!(&*problems.borrow(), Some(Problem::PortTaken { .. })));
        drop(other);
        assert_eq!(listening.await.unwrap(), address);
    }

    #[test]
    fn only_a_node_without_ipv6_falls_back_to_ipv4() {
        let is = |error| is_without_ipv6(&io::Error::from_raw_os_error(error));
        assert!(is(libc::EAFNOSUPPORT) && is(libc::EADDRNOTAVAIL) && !is(libc::EADDRINUSE));
    }
}

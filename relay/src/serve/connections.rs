//! Bounds of open connections. Until it is known who speaks, a connection is a stranger's: such are few and short, and give way to
//! newer ones, so that they keep neither the API server nor a probe out.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::slots::{Slot, Slots};
use crate::{
    access::{Peer, Tenant},
    api_error::ApiError,
};

/// Connections of users with a token of their own, past the API server: of all together, and of one tenant.
const DIRECT: (usize, usize) = (64, 8);

#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections of the API server's proxy.
    pub proxy: usize,
    pub strangers: usize,
    /// From the first packet to the answer, or to a token that is valid.
    pub stranger_lifetime: Duration,
    /// How long a client does not read before its connection is closed.
    pub unread: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { proxy: 448, strangers: 64, stranger_lifetime: Duration::from_secs(5), unread: Duration::from_secs(60) }
    }
}

#[derive(Clone)]
pub(super) struct Connections(Arc<Shared>);

struct Shared {
    limits: ConnectionLimits,
    strangers: Mutex<Strangers>,
    proxy: Arc<Semaphore>,
    direct: Slots,
}

#[derive(Default)]
struct Strangers {
    /// The oldest first.
    open: VecDeque<Stranger>,
    next_number: u64,
}

struct Stranger {
    address: IpAddr,
    cut: CancellationToken,
    number: u64,
}

/// A place among the strangers, until it is dropped.
pub(crate) struct StrangerPlace {
    connections: Connections,
    number: u64,
}

/// One connection, as its requests see it.
pub struct ClientConnection {
    pub peer: Peer,
    /// Verified at the handshake; empty without one.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    /// Closes the connection.
    pub cut: CancellationToken,
    admission: Mutex<Admission>,
    connections: Connections,
}

enum Admission {
    Stranger(#[expect(dead_code, reason = "held until it is dropped")] StrangerPlace),
    Proxy(#[expect(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit),
    Direct(#[expect(dead_code, reason = "held until it is dropped")] Slot),
}

impl Connections {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        Self(Arc::new(Shared {
            limits,
            strangers: Mutex::default(),
            proxy: Arc::new(Semaphore::new(limits.proxy)),
            direct: Slots::new("direct connections", DIRECT.0, DIRECT.1),
        }))
    }

    /// A new connection; `cut` is cancelled when it has to make room.
    pub(super) fn admit(&self, address: IpAddr, cut: CancellationToken) -> StrangerPlace {
        let mut strangers = self.0.strangers.lock();
        while strangers.open.len() >= self.0.limits.strangers {
            let displaced = least_welcome(&strangers.open).and_then(|at| strangers.open.remove(at));
            let Some(displaced) = displaced else { break };
            displaced.cut.cancel();
        }
        let number = strangers.next_number;
        strangers.next_number += 1;
        strangers.open.push_back(Stranger { address, cut, number });
        StrangerPlace { connections: self.clone(), number }
    }
}

/// The oldest of the address that has the most: a flood from one address displaces itself.
fn least_welcome(strangers: &VecDeque<Stranger>) -> Option<usize> {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    strangers.iter().for_each(|stranger| *counts.entry(stranger.address).or_default() += 1);
    let most = counts.values().max()?;
    strangers.iter().position(|stranger| counts.get(&stranger.address) == Some(most))
}

impl StrangerPlace {
    pub(crate) fn limits(&self) -> ConnectionLimits {
        self.connections.0.limits
    }
}

impl Drop for StrangerPlace {
    fn drop(&mut self) {
        let mut strangers = self.connections.0.strangers.lock();
        // It may have been displaced.
        if let Ok(at) = strangers.open.binary_search_by_key(&self.number, |stranger| stranger.number) {
            strangers.open.remove(at);
        }
    }
}

impl ClientConnection {
    /// None if the API server's proxy has all of its connections already.
    pub(crate) fn new(
        peer: Peer,
        certificates: Vec<CertificateDer<'static>>,
        is_proxy: bool,
        place: StrangerPlace,
        cut: CancellationToken,
    ) -> Option<Self> {
        let connections = place.connections.clone();
        let admission = match is_proxy {
            true => Admission::Proxy(Arc::clone(&connections.0.proxy).try_acquire_owned().ok()?),
            false => Admission::Stranger(place),
        };
        Some(Self { peer, certificates, cut, admission: Mutex::new(admission), connections })
    }

    pub fn is_stranger(&self) -> bool {
        matches!(*self.admission.lock(), Admission::Stranger(_))
    }

    /// The connection of a user with a valid token is no stranger's any more.
    pub fn admit_tenant(&self, tenant: &Tenant) -> Result<(), ApiError> {
        let mut admission = self.admission.lock();
        if matches!(*admission, Admission::Stranger(_)) {
            *admission = Admission::Direct(self.connections.0.direct.acquire(tenant)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(connections: &Connections, address: [u8; 4]) -> (StrangerPlace, CancellationToken) {
        let cut = CancellationToken::new();
        (connections.admit(address.into(), cut.clone()), cut)
    }

    #[test]
    fn flood_from_one_address_displaces_itself() {
        let connections = Connections::new(ConnectionLimits { strangers: 4, ..ConnectionLimits::default() });
        let (_place, probe) = admitted(&connections, [10, 0, 0, 1]);
        let flood: Vec<_> = (0..100).map(|_| admitted(&connections, [10, 0, 0, 66])).collect();
        assert!(!probe.is_cancelled());
        assert_eq!(flood.iter().filter(|(_, cut)| !cut.is_cancelled()).count(), 3);
        assert!(!flood[99].1.is_cancelled());
        drop(flood);
        assert_eq!(connections.0.strangers.lock().open.len(), 1);
    }

    #[test]
    fn user_with_a_token_makes_room_for_strangers() {
        let connections = Connections::new(ConnectionLimits { strangers: 1, ..ConnectionLimits::default() });
        let (place, cut) = admitted(&connections, [10, 0, 0, 1]);
        let client = ClientConnection::new(Peer::default(), Vec::new(), false, place, cut.clone()).unwrap();
        assert!(client.is_stranger());
        client.admit_tenant(&Tenant::User("zoe".into())).unwrap();
        assert!(!client.is_stranger());
        let _other = admitted(&connections, [10, 0, 0, 1]);
        assert!(!cut.is_cancelled());
    }

    #[test]
    fn one_tenant_has_few_direct_connections() {
        let connections = Connections::new(ConnectionLimits::default());
        let direct = |tenant: &str| {
            let (place, cut) = admitted(&connections, [10, 0, 0, 1]);
            let client = ClientConnection::new(Peer::default(), Vec::new(), false, place, cut).unwrap();
            client.admit_tenant(&Tenant::Namespace(tenant.into())).map(|()| client)
        };
        let _open: Vec<_> = (0..DIRECT.1).map(|_| direct("shop").unwrap()).collect();
        assert_eq!(direct("shop").map(drop).unwrap_err().code, 429);
        assert!(direct("bank").is_ok());
    }
}

//! Makes the message of a row: the names of its pod, process and peer, and times on the wall clock.

use std::time::Duration;

use jiff::Timestamp;
use trilobite_api::requests::{
    Endpoint, GetRequestsResponse, LostRequests, Process, Request, RetainedSince, get_requests_response::Response,
};
use trilobite_worker_wire::requests::RequestRow;

use super::address_book::{AddressBook, address_only};
use crate::{
    identity::{ExecKey, IdentityService, Owner, PodContainer},
    layers::{
        application::requests::rows::RowSource,
        network::{decode::Transport, directory::SharedDirectory},
    },
    serve::{
        tetragon::EventEncoder,
        timestamps::{self, timestamp},
    },
};

/// Where the names of rows come from.
#[derive(Clone)]
pub struct RequestNames {
    pub identity: IdentityService,
    pub directory: SharedDirectory,
    pub encoder: EventEncoder,
}

impl RequestNames {
    /// The wall clock at boot.
    pub(super) fn boot_time(&self) -> Timestamp {
        self.encoder.boot_time.get()
    }

    pub(super) fn address_book(&self) -> AddressBook {
        AddressBook::new(self.identity.clone(), self.directory.clone())
    }

    pub(super) fn node(&self) -> String {
        self.encoder.node_name.to_string()
    }

    /// The message of a row. A row whose pod is forgotten is of its AppProfile's namespace, which selects no other pods.
    pub(super) fn request(&self, row: RequestRow, source: &RowSource, book: &mut AddressBook) -> Request {
        let boot = self.boot_time();
        let wall_time = wall_time(boot, row.time_ns);
        let key = ExecKey { ktime: row.exec.ktime, pid: row.exec.pid };
        let process = Process {
            pid: row.exec.pid,
            exec_id: self.encoder.exec_id(key),
            binary: self.identity.process(key).map(|process| process.binary.clone()).unwrap_or_default(),
        };
        let mut request = Request { process: Some(process), ..request_without_names(&row, source, boot, self.node()) };
        if let Owner::Pod(found) = self.identity.owner(row.cgroup) {
            name_pod(&mut request, &found);
        }
        let transport = if row.protocol == "dns" { Transport::Udp } else { Transport::Tcp };
        let own_end = |address| Endpoint {
            namespace: request.namespace.clone(),
            pod: request.pod.clone(),
            ..address_only(address)
        };
        let local = row.local.map(own_end);
        let remote = row.remote.map(|address| match address.ip().is_loopback() {
            // Inside of the pod.
            true => own_end(address),
            false => book.endpoint(transport, address, (wall_time, row.time_ns)),
        });
        Request { local, remote, ..with_texts(request, row) }
    }

    /// The response with a request whose response ended so many nanoseconds after boot.
    pub(super) fn response(&self, request: Request, ended: u64) -> GetRequestsResponse {
        self.message(Response::Request(request), wall_time(self.boot_time(), ended))
    }

    pub(super) fn lost(&self, profile: &str, place: &str, count: u64) -> GetRequestsResponse {
        let lost = LostRequests { profile: profile.to_owned(), place: place.to_owned(), count };
        self.message(Response::Lost(lost), Timestamp::now())
    }

    pub(super) fn retained(&self, profile: &str, oldest_ns: u64, evicted: u64) -> GetRequestsResponse {
        let since = (oldest_ns > 0).then(|| timestamp(wall_time(self.boot_time(), oldest_ns)));
        let retained = RetainedSince { profile: profile.to_owned(), since, evicted };
        self.message(Response::Retained(retained), Timestamp::now())
    }

    fn message(&self, response: Response, time: Timestamp) -> GetRequestsResponse {
        GetRequestsResponse { response: Some(response), node_name: self.node(), time: Some(timestamp(time)) }
    }
}

/// The message of a row of a recording, of which neither pods nor processes are known.
pub fn request_of_recording(row: RequestRow, source: &RowSource, boot: Timestamp, node: String) -> Request {
    let process = Process { pid: row.exec.pid, ..Process::default() };
    let (local, remote) = (row.local.map(address_only), row.remote.map(address_only));
    let request = request_without_names(&row, source, boot, node);
    with_texts(Request { process: Some(process), local, remote, ..request }, row)
}

fn request_without_names(row: &RequestRow, source: &RowSource, boot: Timestamp, node: String) -> Request {
    Request {
        time: Some(timestamp(wall_time(boot, row.time_ns))),
        namespace: source.namespace.clone(),
        role: if row.client { "client" } else { "server" }.to_owned(),
        encrypted: row.encrypted,
        latency: Duration::from_nanos(row.latency_ns).try_into().ok(),
        is_error: row.is_error,
        request_bytes: row.request_bytes,
        response_bytes: row.response_bytes,
        mid_stream: row.mid_stream,
        connection: format!("{:016x}", row.connection),
        profile: source.name.clone(),
        id: row_id(&source.name, row),
        node,
        ..Request::default()
    }
}

fn with_texts(request: Request, row: RequestRow) -> Request {
    Request {
        protocol: row.protocol,
        status: row.status,
        operation: row.operation,
        target: row.target,
        columns: row.columns.into_iter().collect(),
        ..request
    }
}

/// When the response of a row ended, on the boot clock: nearly, because the time that the request took to arrive is not known.
pub(super) fn ended(row: &RequestRow) -> u64 {
    row.time_ns.saturating_add(row.latency_ns)
}

fn name_pod(request: &mut Request, found: &PodContainer) {
    let pod = &found.pod;
    request.namespace.clone_from(&pod.namespace);
    request.pod.clone_from(&pod.name);
    request.workload.clone_from(&pod.workload);
    request.container = found.container.as_ref().map(|container| container.name.clone()).unwrap_or_default();
    request.pod_labels.clone_from(&pod.labels);
}

/// The connection first, so that requests of one connection stand together where names are sorted. A worker that was restarted
/// counts again from 1, at another time; two profiles may see the same request.
fn row_id(profile: &str, row: &RequestRow) -> String {
    let hash = profile.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{:016x}-{:x}-{hash:08x}-{:x}", row.connection, row.time_ns, row.sequence)
}

/// A worker is not trusted: a row may have a time that no wall clock shows, which becomes that of the boot.
fn wall_time(boot: Timestamp, boot_ns: u64) -> Timestamp {
    timestamps::wall_time(boot, boot_ns).unwrap_or(boot)
}

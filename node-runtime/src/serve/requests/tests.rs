//! The service over sessions that are fakes: what a call gets, in which order, and what it does not get.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tonic::Status;
use trilobite_api::requests::{
    GetRequestsRequest, GetRequestsResponse, Request, get_requests_response::Response, requests_server::Requests,
};
use trilobite_worker_wire::requests::{RequestRow, RowQuery};

use super::{RequestNames, service::RequestsService};
use crate::{
    identity::{Container, IdentityService, Pod},
    layers::{
        application::requests::rows::{
            RequestRows, RowSource, RowsAnswer, RowsQuestion, RowsRegistration, RowsSender, tests::row,
        },
        network::{
            decode::Transport,
            directory::{Directory, SharedDirectory},
            endpoint::{AddressOwner, ConnectionEnd, Endpoint, Reserved},
        },
    },
    loss::{Ledger, LossPoint},
    serve::{
        read_rows::{ReadResource, ReadRows},
        scope::tests::scoped,
        tetragon::samples::encoder,
    },
};

const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const CART_UID: &str = "7f0e5f36-93a4-4d1b-8f0a-1f7a5a0c9e11";
const TILL_UID: &str = "8a1e5f36-93a4-4d1b-8f0a-1f7a5a0c9e22";
/// Cgroups of the containers of the pods shop/cart-7 and bank/till-1.
const CART: u64 = 77;
const TILL: u64 = 78;

struct Node {
    service: RequestsService,
    rows: RequestRows,
    ledger: Ledger,
    identity: IdentityService,
}

fn pod(namespace: &str, name: &str, uid: &str, ip: [u8; 4]) -> Arc<Pod> {
    let container = Container { name: "app".into(), id: format!("containerd://{CONTAINER}"), ..Container::default() };
    Arc::new(Pod {
        uid: uid.into(),
        cgroup_uid: uid.into(),
        namespace: namespace.into(),
        name: name.into(),
        labels: [("app".to_owned(), name.split('-').next().unwrap().to_owned())].into(),
        workload: name.split('-').next().unwrap().to_owned(),
        ips: vec![ip.into()],
        containers: vec![container],
        ..Pod::default()
    })
}

fn node() -> Node {
    let identity = IdentityService::new(Arc::default(), Ledger::default(), true);
    let mut cgroups = vec![(2, 1, "kubepods".to_owned())];
    for (at, (uid, cgroup)) in [(CART_UID, CART), (TILL_UID, TILL)].into_iter().enumerate() {
        let pod_cgroup = 10 + at as u64;
        cgroups.push((pod_cgroup, 2, format!("pod{uid}")));
        cgroups.push((cgroup, pod_cgroup, CONTAINER.to_owned()));
    }
    identity.set_cgroups(&cgroups);
    identity
        .set_pods(vec![pod("shop", "cart-7", CART_UID, [10, 0, 0, 7]), pod("bank", "till-1", TILL_UID, [10, 0, 1, 9])]);
    let (rows, ledger) = (RequestRows::default(), Ledger::default());
    let names = RequestNames { identity: identity.clone(), directory: SharedDirectory::default(), encoder: encoder() };
    let (service_rows, counts) = (rows.clone(), ReadRows::default());
    let service = RequestsService { rows: service_rows, names, ledger: ledger.clone(), counts };
    Node { service, rows, ledger, identity }
}

/// A session that has rows, which it sends for each question; a question that follows stays open.
struct FakeSession {
    _registration: RowsRegistration,
    queries: Arc<Mutex<Vec<RowQuery>>>,
    followers: Arc<Mutex<Vec<RowsSender>>>,
    task: JoinHandle<()>,
}

impl FakeSession {
    fn start(node: &Node, name: &str, namespace: &str, rows: Vec<RequestRow>) -> Self {
        Self::start_with_evicted(node, name, namespace, rows, 0)
    }

    fn start_with_evicted(node: &Node, name: &str, namespace: &str, rows: Vec<RequestRow>, evicted: u64) -> Self {
        let (questions, mut asked) = mpsc::channel::<RowsQuestion>(4);
        let source = RowSource { name: name.into(), namespace: namespace.into() };
        let registration = node.rows.register(source, questions);
        let (queries, followers) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (all_queries, all_followers) = (Arc::clone(&queries), Arc::clone(&followers));
        let task = tokio::spawn(async move {
            while let Some(RowsQuestion { query, answers }) = asked.recv().await {
                let wanted = rows.iter().filter(|row| {
                    row.time_ns >= query.since_ns
                        && row.sequence > query.after_sequence
                        && query.cgroups.as_ref().is_none_or(|cgroups| cgroups.contains(&row.cgroup))
                });
                wanted.for_each(|row| answers.send(RowsAnswer::Row(Box::new(row.clone()))));
                let newest_sequence = rows.iter().map(|row| row.sequence).max().unwrap_or_default();
                answers.send(RowsAnswer::Complete { evicted, newest_sequence, oldest_ns: 3_000_000_000 });
                if query.follow {
                    all_followers.lock().push(answers);
                }
                all_queries.lock().push(query);
            }
        });
        Self { _registration: registration, queries, followers, task }
    }

    async fn until_followed(&self) {
        let followed = async {
            while self.followers.lock().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), followed).await.expect("a follower");
    }

    fn send(&self, row: RequestRow) {
        self.followers.lock().iter().for_each(|follower| follower.send(RowsAnswer::Row(Box::new(row.clone()))));
    }
}

impl Drop for FakeSession {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn row_of(cgroup: u64, sequence: u64, seconds: u64) -> RequestRow {
    RequestRow { cgroup, ..row(sequence, seconds * 1_000_000_000) }
}

async fn responses(node: &Node, request: GetRequestsRequest, scope: &str) -> Vec<Response> {
    let stream = node.service.get_requests(scoped(request, scope)).await.unwrap().into_inner();
    let all: Vec<Result<GetRequestsResponse, Status>> = stream.collect().await;
    all.into_iter().map(|response| response.unwrap().response.unwrap()).collect()
}

async fn requests(node: &Node, request: GetRequestsRequest, scope: &str) -> Vec<Request> {
    let all = responses(node, request, scope).await;
    all.into_iter()
        .map(|response| match response {
            Response::Request(request) => request,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn targets(requests: &[Request]) -> Vec<(&str, &str)> {
    requests.iter().map(|request| (request.namespace.as_str(), request.pod.as_str())).collect()
}

#[tokio::test]
async fn rows_of_two_sessions_come_by_the_end_of_their_responses() {
    let node = node();
    let slow = RequestRow { latency_ns: 9_000_000_000, ..row_of(CART, 1, 1) };
    let _cart = FakeSession::start(&node, "shop/slow", "shop", vec![slow, row_of(CART, 2, 4)]);
    let _till = FakeSession::start(&node, "bank/slow", "bank", vec![row_of(TILL, 1, 3), row_of(TILL, 2, 5)]);
    let found = requests(&node, GetRequestsRequest { limit: 3, ..Default::default() }, "*").await;
    assert_eq!(targets(&found), [("shop", "cart-7"), ("bank", "till-1"), ("shop", "cart-7")]);
    assert_eq!(found[2].latency.unwrap().seconds, 9, "the request that took longest ended last");
    assert_eq!(node.service.counts.counts(ReadResource::Requests), (3, 0));
}

#[tokio::test]
async fn row_has_names_of_pod_process_and_peer() {
    let node = node();
    let _session = FakeSession::start(&node, "shop/slow", "shop", vec![row_of(CART, 2, 100)]);
    let found = requests(&node, GetRequestsRequest::default(), "shop").await.remove(0);
    let text = |text: &str| text.to_owned();
    assert_eq!(
        (found.pod, found.container, found.workload, found.role),
        (text("cart-7"), text("app"), text("cart"), text("server"))
    );
    let (local, remote) = (found.local.unwrap(), found.remote.unwrap());
    assert_eq!((local.ip, local.port, local.pod), (text("10.0.0.7"), 8080, text("cart-7")));
    assert_eq!((remote.namespace, remote.pod, remote.port), (text("bank"), text("till-1"), 41_000));
    assert_eq!(found.time.unwrap().seconds, 1_700_000_100, "boot and a hundred seconds");
    assert_eq!(found.connection, "0000000000c0ffee");
    assert_eq!(found.columns["resp_message"], "OK");
    assert_eq!(found.pod_labels["app"], "cart");
    assert_eq!((found.profile, found.node), (text("shop/slow"), text("reef")));
}

#[tokio::test]
async fn rows_of_another_namespace_are_counted_and_not_sent() {
    let node = node();
    let rows = vec![row_of(CART, 1, 1), row_of(TILL, 2, 2), row_of(CART, 3, 3)];
    let standing = FakeSession::start(&node, "default", "", rows);
    let found = requests(&node, GetRequestsRequest::default(), "bank").await;
    assert_eq!(targets(&found), [("bank", "till-1")]);
    let query = standing.queries.lock()[0].clone();
    assert!(query.cgroups.is_some_and(|cgroups| cgroups.contains(&TILL) && !cgroups.contains(&CART)));
    assert_eq!(node.service.counts.counts(ReadResource::Requests), (1, 0));
    // Of a pod that was named wrongly by the worker nothing is shown either.
    let _theirs = FakeSession::start(&node, "bank/slow", "bank", vec![row_of(CART, 1, 1)]);
    assert_eq!(targets(&requests(&node, GetRequestsRequest::default(), "bank").await), [("bank", "till-1")]);
    assert_eq!(node.service.counts.counts(ReadResource::Requests), (2, 1));
    let asked = requests(&node, GetRequestsRequest { namespaces: vec!["shop".into()], ..Default::default() }, "bank");
    assert_eq!(asked.await.len(), 0);
    assert!(node.service.get_requests(tonic::Request::new(GetRequestsRequest::default())).await.is_err());
}

#[tokio::test]
async fn sessions_of_another_namespace_are_not_asked() {
    let node = node();
    let session = FakeSession::start(&node, "shop/slow", "shop", vec![row_of(CART, 1, 1)]);
    assert_eq!(requests(&node, GetRequestsRequest::default(), "bank,mint").await.len(), 0);
    assert!(session.queries.lock().is_empty());
    assert_eq!(requests(&node, GetRequestsRequest::default(), "bank,shop").await.len(), 1);
}

#[tokio::test]
async fn filters_are_put_to_the_worker() {
    let node = node();
    let session = FakeSession::start(&node, "shop/slow", "shop", vec![row_of(CART, 1, 50)]);
    let request = GetRequestsRequest {
        pod: "cart".into(),
        protocol: "http".into(),
        slower_than: Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 }),
        errors: true,
        since: Some(prost_types::Timestamp { seconds: 1_700_000_040, nanos: 5 }),
        limit: 7,
        ..GetRequestsRequest::default()
    };
    assert_eq!(requests(&node, request.clone(), "shop").await.len(), 1);
    let query = session.queries.lock()[0].clone();
    assert_eq!((query.protocol.as_deref(), query.slower_than_ns, query.errors), (Some("http"), 100_000_000, true));
    assert_eq!((query.since_ns, query.limit, query.follow), (40_000_000_000, 7, false));
    assert!(query.cgroups.is_some_and(|cgroups| cgroups.contains(&CART)));
    assert_eq!(requests(&node, GetRequestsRequest { pod: "till".into(), ..request.clone() }, "shop").await.len(), 0);
    let negative = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    let refused = node.service.get_requests(scoped(GetRequestsRequest { slower_than: negative, ..request }, "shop"));
    let status = refused.await.map(drop).unwrap_err();
    assert!(status.message().starts_with("slower_than: "), "{status}");
}

#[tokio::test]
async fn following_goes_on_behind_the_past_and_into_new_sessions() {
    let node = node();
    let session = FakeSession::start(&node, "shop/slow", "shop", vec![row_of(CART, 1, 1), row_of(CART, 2, 2)]);
    let request = GetRequestsRequest { follow: true, limit: 1, ..GetRequestsRequest::default() };
    let mut stream = node.service.get_requests(scoped(request, "shop,bank")).await.unwrap().into_inner();
    let mut next = async || match timeout(Duration::from_secs(10), stream.next()).await.unwrap()?.unwrap().response {
        Some(Response::Request(request)) => request.id.rsplit('-').next().map(str::to_owned),
        other => panic!("{other:?}"),
    };
    assert_eq!(next().await.as_deref(), Some("2"));
    let (sent, read) = tokio::join!(
        async {
            session.until_followed().await;
            session.send(row_of(CART, 3, 3));
        },
        next()
    );
    assert_eq!((sent, read.as_deref()), ((), Some("3")));
    assert_eq!(session.queries.lock()[1].after_sequence, 2, "neither skipped nor repeated");
    let later = FakeSession::start(&node, "bank/slow", "bank", vec![row_of(TILL, 9, 9)]);
    assert_eq!(next().await.as_deref(), Some("9"));
    drop(later);
    node.rows.close();
    assert_eq!(next().await, None, "the agent stops");
}

#[tokio::test]
async fn session_that_gives_up_is_asked_again_after_a_pause() {
    let node = node();
    let (questions, mut asked) = mpsc::channel::<RowsQuestion>(4);
    let source = RowSource { name: "shop/slow".into(), namespace: "shop".into() };
    let _registration = node.rows.register(source, questions);
    let request = GetRequestsRequest { follow: true, ..GetRequestsRequest::default() };
    let mut stream = node.service.get_requests(scoped(request, "shop")).await.unwrap().into_inner();
    let worker = tokio::spawn(async move {
        let past = asked.recv().await.unwrap();
        past.answers.send(RowsAnswer::Complete { evicted: 0, newest_sequence: 7, oldest_ns: 0 });
        let first = asked.recv().await.unwrap();
        first.answers.send(RowsAnswer::Gone("the worker has died".into()));
        let again = asked.recv().await.unwrap();
        again.answers.send(RowsAnswer::Row(Box::new(row_of(CART, 1, 9))));
        (first.query, again.query, again.answers)
    });
    let mut next = async || timeout(Duration::from_secs(10), stream.next()).await.unwrap().unwrap().unwrap().response;
    assert!(matches!(next().await, Some(Response::Lost(lost)) if lost.place == "worker"));
    assert!(matches!(next().await, Some(Response::Request(_))));
    let (first, again, _) = worker.await.unwrap();
    assert_eq!((first.after_sequence, first.since_ns), (7, 0));
    assert_eq!(again.after_sequence, 0, "another worker counts from 1");
    assert!(again.since_ns > 0, "the rows of before are not repeated");
}

#[tokio::test]
async fn following_alone_shows_nothing_of_the_past() {
    let node = node();
    let session = FakeSession::start(&node, "shop/slow", "shop", vec![row_of(CART, 1, 1)]);
    let request = GetRequestsRequest { follow: true, ..GetRequestsRequest::default() };
    let mut stream = node.service.get_requests(scoped(request, "shop")).await.unwrap().into_inner();
    let (_, first) = tokio::join!(
        async {
            session.until_followed().await;
            session.send(row_of(CART, 2, 2));
        },
        timeout(Duration::from_secs(10), stream.next())
    );
    let Some(Response::Request(first)) = first.unwrap().unwrap().unwrap().response else { panic!("no request") };
    assert!(first.id.ends_with("-2"), "{}", first.id);
}

#[tokio::test]
async fn following_since_a_time_has_no_limit() {
    let node = node();
    let many: Vec<RequestRow> = (1..=6_000).map(|sequence| row_of(CART, sequence, 9)).collect();
    let session = FakeSession::start(&node, "shop/slow", "shop", many);
    let since = Some(prost_types::Timestamp { seconds: 1_700_000_001, nanos: 5 });
    let request = GetRequestsRequest { follow: true, since, ..GetRequestsRequest::default() };
    let stream = node.service.get_requests(scoped(request, "shop")).await.unwrap().into_inner();
    let read = stream.take(6_000).filter(|one| std::future::ready(one.is_ok())).count();
    assert_eq!(timeout(Duration::from_secs(30), read).await.expect("all rows in time"), 6_000);
    let queries = session.queries.lock();
    assert_eq!((queries.len(), queries[0].since_ns), (1, 1_000_000_000));
}

#[tokio::test]
async fn session_that_does_not_answer_is_named() {
    let node = node();
    let _session = FakeSession::start_with_evicted(&node, "shop/slow", "shop", vec![row_of(CART, 1, 1)], 812);
    let (questions, _asked) = mpsc::channel::<RowsQuestion>(4);
    let source = RowSource { name: "shop/stuck".into(), namespace: "shop".into() };
    let _stuck = node.rows.register(source, questions);
    let all = responses(&node, GetRequestsRequest::default(), "shop").await;
    let [Response::Retained(retained), Response::Request(_), Response::Lost(lost)] = all.as_slice() else {
        panic!("{all:?}")
    };
    assert_eq!((retained.profile.as_str(), retained.evicted), ("shop/slow", 812));
    assert_eq!(retained.since.unwrap().seconds, 1_700_000_003);
    assert_eq!((lost.profile.as_str(), lost.place.as_str(), lost.count), ("shop/stuck", "worker", 0));
}

#[tokio::test]
async fn reader_that_is_too_slow_knows_what_it_lost() {
    let node = node();
    let session = FakeSession::start(&node, "shop/slow", "shop", Vec::new());
    let request = GetRequestsRequest { follow: true, ..GetRequestsRequest::default() };
    let mut stream = node.service.get_requests(scoped(request, "shop")).await.unwrap().into_inner();
    let (_, first) = tokio::join!(
        async {
            session.until_followed().await;
            (1..=30_000).for_each(|sequence| session.send(row_of(CART, sequence, 9)));
        },
        stream.next()
    );
    assert!(matches!(first.unwrap().unwrap().response, Some(Response::Request(_))));
    let (mut read, mut lost) = (1, 0);
    while read + lost < 30_000 {
        match timeout(Duration::from_secs(10), stream.next()).await.unwrap().unwrap().unwrap().response {
            Some(Response::Request(_)) => read += 1,
            Some(Response::Lost(notice)) => lost += notice.count,
            other => panic!("{other:?}"),
        }
    }
    assert!(lost > 0 && read + lost == 30_000, "{read} read, {lost} lost");
    assert_eq!(node.ledger.total_at(LossPoint::StreamReader), lost);
}

#[tokio::test]
async fn row_of_a_forgotten_pod_is_of_its_profiles_namespace() {
    let node = node();
    let _session = FakeSession::start(&node, "shop/slow", "shop", vec![row_of(12_345, 1, 1)]);
    let found = requests(&node, GetRequestsRequest::default(), "shop").await;
    assert_eq!(targets(&found), [("shop", "")]);
}

/// The API server for one address, a pod of another node since the 50th second for another.
struct Elsewhere;

impl Directory for Elsewhere {
    fn owner(&self, _: Transport, address: std::net::SocketAddr, _: bool) -> ConnectionEnd {
        let pod = Endpoint { namespace: "mint".into(), pod: "press-1".into(), ..Endpoint::default() };
        let (owner, since) = match address.ip().to_string().as_str() {
            "10.9.0.1" => (pod, 50_000_000_000),
            _ => (Endpoint::reserved(Reserved::KubeApiserver), 0),
        };
        ConnectionEnd { endpoint: Some(AddressOwner { owner: owner.into(), since }), service: None }
    }

    fn declares(&self, _: Transport, _: std::net::SocketAddr) -> bool {
        false
    }

    fn is_in_cluster(&self, _: std::net::IpAddr) -> bool {
        true
    }

    fn is_complete(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn peer_is_named_unless_it_got_its_address_later() {
    let node = node();
    node.service.names.directory.set(Some(Arc::new(Elsewhere)));
    let to = |ip: &str, sequence, seconds| RequestRow {
        client: true,
        remote: Some(format!("{ip}:443").parse().unwrap()),
        ..row_of(CART, sequence, seconds)
    };
    let rows = vec![to("10.9.0.1", 1, 49), to("10.9.0.1", 2, 51), to("10.9.0.2", 3, 52), to("127.0.0.1", 4, 53)];
    let _session = FakeSession::start(&node, "shop/slow", "shop", rows);
    let found = requests(&node, GetRequestsRequest::default(), "shop").await;
    let peers: Vec<(String, String, String)> = found
        .into_iter()
        .map(|request| request.remote.unwrap())
        .map(|remote| (remote.namespace, remote.pod, remote.name))
        .collect();
    let peer = |namespace: &str, pod: &str, name: &str| (namespace.to_owned(), pod.to_owned(), name.to_owned());
    assert_eq!(
        peers,
        [peer("", "", ""), peer("mint", "press-1", ""), peer("", "", "kube-apiserver"), peer("shop", "cart-7", "")]
    );
    // A pod of this node that began later than the request.
    let mut young = (*pod("bank", "till-2", TILL_UID, [10, 0, 1, 9])).clone();
    young.created = Some(Timestamp::new(1_700_000_060, 0).unwrap());
    node.identity.set_pods(vec![Arc::new(young)]);
    let _other = FakeSession::start(&node, "bank/slow", "bank", vec![row_of(CART, 1, 59), row_of(CART, 2, 61)]);
    let found = requests(&node, GetRequestsRequest::default(), "bank,shop").await;
    let of_bank: Vec<&str> = found
        .iter()
        .filter(|request| request.profile == "bank/slow")
        .map(|request| request.remote.as_ref().unwrap().pod.as_str())
        .collect();
    assert_eq!(of_bank, ["", "till-2"]);
}

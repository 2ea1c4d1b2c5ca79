//! Requests in this machine's kernel: rows of a real connection, what profiles share, and that nothing is left of them. Needs root
//! and the worker's binary: `cargo build -p trilobite-worker && cargo test -p trilobite-node --test requests -- --ignored`.

#![allow(clippy::unwrap_used)]

mod pipelines;
mod request_node;

use std::{fs, os::unix::fs::FileExt, time::Duration};

use jiff::{SignedDuration, Timestamp};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use request_node::{
    FAILS_EVERY, PAUSE, PORT, REQUESTS, RequestNode, descriptors, exchange_in_this_process, exists, free_port, profile,
    requests_on, workers,
};
use trilobite_crds::{
    app_profile::{RequestProtocol, RequestRole},
    node::{AppProfileSession, CpuSampling, RequestsSession},
};
use trilobite_node::{
    kernel::{Account, account},
    loss::LossPoint,
    plan::UnitState,
};
use trilobite_worker_wire::RequestRow;

#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn both_ends_of_a_connection() {
    let number = |name| std::env::var(name).ok()?.parse::<usize>().ok();
    let (Some(port), Some(requests)) = (number(PORT), number(REQUESTS)) else { return };
    let pause = Duration::from_micros(number(PAUSE).unwrap_or_default() as u64);
    exchange_in_this_process(u16::try_from(port).unwrap(), requests, pause);
}

fn of_role(rows: &[RequestRow], client: bool) -> Vec<(&str, &str, &str)> {
    let of_role = rows.iter().filter(|row| row.client == client);
    of_role.map(|row| (row.operation.as_str(), row.target.as_str(), row.status.as_str())).collect()
}

#[tokio::test]
#[ignore = "needs root"]
async fn each_request_of_a_connection_is_a_row_of_both_roles() {
    let mut node = RequestNode::new("rows");
    let port = free_port();
    let key = node.request("cart", port);
    let states = node.apply().await;
    assert_eq!(states[&key], UnitState::Active { notes: Vec::new() });
    node.exchange(port, 20).await;
    let rows = node.rows("shop/cart", 40).await;
    for client in [false, true] {
        let rows = of_role(&rows, client);
        assert_eq!(rows.len(), 20, "{rows:?}");
        for (number, (operation, target, status)) in rows.into_iter().enumerate() {
            let fails = number % FAILS_EVERY == FAILS_EVERY - 1;
            assert_eq!((operation, status), ("GET", if fails { "503" } else { "200" }));
            assert!(target.starts_with(&format!("/item/{number}?")), "{target}");
        }
    }
    let text = format!("{rows:?}");
    assert!(!text.contains("hidden") && !text.contains("secret"), "{text}");
    assert!(rows.iter().all(|row| row.is_error == (row.status == "503") && !row.mid_stream));
    node.wait_until("the counts have come", |node| node.state(&key).rows.iter().any(|it| it.rows == 40)).await;
    let state = node.state(&key);
    assert_eq!((state.connections, state.lost_ring, state.lost_parse), (2, 0, 0), "{state:?}");
    assert!(state.bytes > 0 && state.oldest_row.is_some(), "{state:?}");
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn profile_has_rows_of_its_port_and_role_alone() {
    let mut node = RequestNode::new("filter");
    let (port, other) = (free_port(), free_port());
    let server = RequestsSession { roles: vec![RequestRole::Server], ..requests_on(port) };
    let key = node.request_with("cart", server, 16 << 20);
    node.request("till", other);
    node.apply().await;
    node.exchange(port, 10).await;
    let rows = node.rows("shop/cart", 10).await;
    assert_eq!((of_role(&rows, false).len(), of_role(&rows, true).len()), (10, 0));
    assert_eq!(node.rows_now("shop/till").await, []);
    node.wait_until("the other role is counted", |node| node.state(&key).other_role > 0).await;
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn second_profile_adds_a_ring_and_no_program() {
    let mut node = RequestNode::new("shared");
    let port = free_port();
    node.request("cart", port);
    node.apply().await;
    let one = account();
    node.request("till", port);
    node.apply().await;
    let two = account();
    assert!(one.programs > 0);
    assert_eq!((two.programs, two.links), (one.programs, one.links));
    assert!(two.maps <= one.maps + 1, "{one:?} {two:?}");
    node.exchange(port, 10).await;
    let (cart, till) = (node.rows("shop/cart", 20).await, node.rows("shop/till", 20).await);
    assert_eq!(of_role(&cart, true), of_role(&till, true));
    // The first one leaves, and the second one goes on.
    node.desired.sessions.remove(0);
    node.apply().await;
    assert_eq!((account().programs, workers().len()), (one.programs, 1));
    node.exchange(port, 10).await;
    assert_eq!(node.rows("shop/till", 40).await.len(), 40);
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn twenty_cycles_leave_nothing() {
    let mut node = RequestNode::new("cycles");
    let port = free_port();
    // The first cycle also creates what stays, e.g. the descriptors of the runtime.
    for cycle in 0..2 {
        node.request("cart", port);
        node.apply().await;
        assert!(account().programs > 0, "cycle {cycle}");
        node.withdraw().await;
    }
    let before = descriptors();
    for _ in 0..20 {
        node.request("cart", port);
        node.apply().await;
        node.withdraw().await;
    }
    assert_eq!((account(), descriptors(), workers().len()), (Account::default(), before, 0));
}

#[tokio::test]
#[ignore = "needs root"]
async fn profile_above_the_node_budget_waits_until_another_ends() {
    let mut node = RequestNode::new("budget");
    let port = free_port();
    let memory = 16 << 20;
    let keys = ["cart", "desk", "till"].map(|name| node.request_with(name, requests_on(port), memory));
    node.desired.application.node_memory_budget_bytes = Some(2 * memory);
    let states = node.apply().await;
    let refused: Vec<_> = keys.iter().filter(|key| matches!(states[key], UnitState::Refused(_))).collect();
    let [refused] = refused.as_slice() else { panic!("{states:?}") };
    let UnitState::Refused(problem) = &states[refused] else { panic!("{states:?}") };
    let message = problem.message();
    assert!(message.contains("32 MiB are in use: shop/"), "{message}");
    assert_eq!(problem.reason().as_str(), "NodeBudgetExceeded");
    node.wait_until("the others run", |_| workers().len() == 2).await;
    assert!(!node.application.was_memory_freed());
    let ends = keys.iter().find(|key| key != refused).unwrap();
    node.desired.sessions.retain(|session| *ends.name != format!("shop/{}", session.source.name));
    node.apply().await;
    assert!(matches!(node.application.states()[*refused], UnitState::Active { .. }));
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn seventy_profiles_on_a_budget_for_sixty() {
    let mut node = RequestNode::new("seventy");
    let (port, memory) = (free_port(), 8 << 20);
    for number in 0..70 {
        node.request_with(&format!("p{number:02}"), requests_on(port), memory);
    }
    node.desired.application.node_memory_budget_bytes = Some(60 * memory);
    let states = node.apply().await;
    let refused = states.values().filter_map(|state| match state {
        UnitState::Refused(problem) => Some(problem.reason().as_str()),
        UnitState::Active { .. } => None,
    });
    assert_eq!(refused.collect::<Vec<_>>(), ["NodeBudgetExceeded"; 10]);
    node.wait_until("every worker runs", |_| workers().len() == 60).await;
    node.exchange(port, 5).await;
    let active = states.iter().filter(|(_, state)| matches!(state, UnitState::Active { .. }));
    for name in active.map(|(key, _)| key.name.to_string()).collect::<Vec<_>>() {
        assert_eq!(node.rows(&name, 10).await.len(), 10, "{name}");
    }
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn killed_worker_is_restarted_and_its_rows_are_counted() {
    let mut node = RequestNode::new("killed");
    let port = free_port();
    let key = node.request("cart", port);
    node.apply().await;
    node.exchange(port, 10).await;
    node.rows("shop/cart", 20).await;
    node.wait_until("the counts have come", |node| node.state(&key).rows.iter().any(|it| it.rows == 20)).await;
    let first = workers();
    assert_eq!(first.len(), 1);
    kill(Pid::from_raw(first[0] as i32), Signal::SIGKILL).unwrap();
    node.wait_until("another worker runs", |_| workers().len() == 1 && workers() != first).await;
    assert_eq!(node.ledger.total_at(LossPoint::Worker), 20);
    let UnitState::Active { notes } = &node.application.states()[&key] else { panic!("refused") };
    let message = notes[0].message();
    assert!(message.contains("ended with 20 rows") && message.contains("signal: 9"), "{message}");
    node.exchange(port, 10).await;
    assert_eq!(node.rows("shop/cart", 20).await.len(), 20);
    node.wait_until("the sum has both", |node| node.state(&key).rows.iter().any(|it| it.rows == 40)).await;
    assert_eq!(node.application.counts()[&key].records, 40);
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn worker_that_hangs_is_killed_and_restarted() {
    let mut node = RequestNode::new("hanging");
    let port = free_port();
    let key = node.request_standing(port);
    node.apply().await;
    node.exchange(port, 10).await;
    node.rows("default", 20).await;
    node.wait_until("the counts have come", |node| node.state(&key).rows.iter().any(|it| it.rows == 20)).await;
    // One without traffic reports too.
    tokio::time::sleep(Duration::from_secs(22)).await;
    let first = workers();
    assert_eq!((first.len(), node.ledger.total_at(LossPoint::Worker)), (1, 0));
    kill(Pid::from_raw(first[0] as i32), Signal::SIGSTOP).unwrap();
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(workers(), first, "it may only lack processor time");
    node.wait_until("another worker runs", |_| workers().len() == 1 && workers() != first).await;
    assert_eq!(node.ledger.total_at(LossPoint::Worker), 20);
    let UnitState::Active { notes } = &node.application.states()[&key] else { panic!("refused") };
    let message = notes[0].message();
    assert!(message.contains("it has not reported for 20 s"), "{message}");
    node.exchange(port, 10).await;
    assert_eq!(node.rows("default", 20).await.len(), 20);
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn session_whose_workers_keep_dying_is_refused() {
    let mut node = RequestNode::new("dying");
    let key = node.request("cart", free_port());
    node.apply().await;
    for _ in 0..400 {
        for worker in workers() {
            // It may be ending already.
            let _ = kill(Pid::from_raw(worker as i32), Signal::SIGKILL);
        }
        if matches!(node.application.states()[&key], UnitState::Refused(_)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let UnitState::Refused(problem) = &node.application.states()[&key] else { panic!("it goes on") };
    assert!(problem.message().ends_with("create another profile"), "{}", problem.message());
    node.apply().await;
    assert_eq!((account(), workers().len()), (Account::default(), 0), "it is not started again");
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn rows_outlive_the_capture_and_not_the_profile() {
    let mut node = RequestNode::new("retained");
    let port = free_port();
    let key = node.request("cart", port);
    node.apply().await;
    node.exchange(port, 10).await;
    node.rows("shop/cart", 20).await;
    assert!(node.application.unfinished().contains(&key));
    let after = Timestamp::now() + SignedDuration::from_secs(61);
    node.apply_at(after).await;
    node.wait_until("nothing is in the kernel", |_| account() == Account::default()).await;
    assert!(!node.application.unfinished().contains(&key));
    node.exchange(port, 10).await;
    assert_eq!(node.rows("shop/cart", 20).await.len(), 20, "nothing is captured any more");
    let worker = workers()[0];
    assert_eq!(workers().len(), 1);
    // Deleted.
    node.withdraw().await;
    assert!(!exists(&format!("/proc/{worker}")) && node.application.request_rows().profiles().is_empty());
}

#[tokio::test]
#[ignore = "needs root"]
async fn rows_of_an_ended_profile_give_way_to_a_new_profile() {
    let mut node = RequestNode::new("way");
    let port = free_port();
    let memory = 16 << 20;
    node.desired.application.node_memory_budget_bytes = Some(memory);
    let ended = node.request_with("cart", requests_on(port), memory);
    node.apply().await;
    let after = Timestamp::now() + SignedDuration::from_secs(61);
    node.apply_at(after).await;
    node.wait_until("nothing is in the kernel", |_| account() == Account::default()).await;
    let key = node.request_with("till", requests_on(port), memory);
    node.desired.sessions[1].expires_at = after + SignedDuration::from_secs(60);
    let key = trilobite_node::plan::UnitKey { version: node.desired.sessions[1].expires_at.to_string().into(), ..key };
    let states = node.apply_at(after).await;
    assert!(matches!(states[&key], UnitState::Active { .. }), "{states:?}");
    node.wait_until("the new one runs alone", |_| workers().len() == 1).await;
    assert_eq!(node.state(&ended).memory_bytes, 0);
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn standing_profile_has_no_end_and_leaves_nothing() {
    let mut node = RequestNode::new("standing");
    let port = free_port();
    let key = node.request_standing(port);
    node.apply().await;
    node.exchange(port, 10).await;
    assert_eq!(node.rows("default", 20).await.len(), 20);
    let much_later = Timestamp::now() + SignedDuration::from_hours(1_000);
    node.apply_at(much_later).await;
    assert!(account().programs > 0 && node.application.states().contains_key(&key));
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn profile_under_load_misses_only_what_was_in_flight() {
    let mut node = RequestNode::new("load");
    let (port, requests) = (free_port(), 4_000);
    let mut exchange = node.start_exchange(port, requests, Duration::from_millis(1));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let key = node.request("cart", port);
    node.apply().await;
    node.rows("shop/cart", 1_000).await;
    node.apply_at(Timestamp::now() + SignedDuration::from_secs(61)).await;
    node.wait_until("the last counts have come", |node| node.state(&key).memory_bytes > 0).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(exchange.try_wait().unwrap().is_none(), "it ended before the profile did");
    let rows = node.rows_now("shop/cart").await;
    let state = node.state(&key);
    assert_eq!((state.lost_ring, state.connections, state.mid_stream), (0, 2, 2), "{state:?}");
    for client in [false, true] {
        let number = |target: &str| target["/item/".len()..].split('?').next().unwrap().parse::<usize>().unwrap();
        let numbers: Vec<usize> = of_role(&rows, client).iter().map(|(_, target, _)| number(target)).collect();
        let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
        assert!(first > 0 && last < requests - 1 && numbers.len() > 400, "{first} {last} {}", numbers.len());
        assert_eq!(numbers, (first..=last).collect::<Vec<_>>());
    }
    exchange.kill().unwrap();
    exchange.wait().unwrap();
    node.withdraw().await;
}

/// The targets of both roles, of a client that sends many requests in one write.
async fn pipelined(name: &str, script: &str, protocol: RequestProtocol, requests: usize) -> [Vec<String>; 2] {
    let mut node = RequestNode::new(name);
    let port = free_port();
    let key = node.request_with("cart", RequestsSession { protocols: vec![protocol], ..requests_on(port) }, 32 << 20);
    node.apply().await;
    let script = format!("{script}{}", pipelines::PLAY);
    let mut ends = node.start("python3", &["-c", &script, &port.to_string()]);
    let rows = node.rows("shop/cart", 2 * requests).await;
    assert!(ends.wait().unwrap().success());
    node.wait_until("the counts have come", |node| node.state(&key).rows.iter().any(|it| it.rows > 0)).await;
    let state = node.state(&key);
    assert_eq!((state.gaps, state.gap_bytes, state.lost_ring, state.lost_parse), (0, 0, 0, 0), "{state:?}");
    node.withdraw().await;
    [false, true].map(|client| of_role(&rows, client).iter().map(|(_, target, _)| (*target).to_owned()).collect())
}

#[tokio::test]
#[ignore = "needs root"]
async fn each_command_of_a_large_write_of_redis_is_a_row() {
    let roles = pipelined("redis", pipelines::REDIS, RequestProtocol::Redis, 1_001).await;
    let many = (0..1_000).map(|number| format!("key:{number:03}"));
    let expected: Vec<String> = ["first".to_owned()].into_iter().chain(many).collect();
    assert_eq!(roles, [expected.clone(), expected]);
}

#[tokio::test]
#[ignore = "needs root"]
async fn each_statement_of_a_large_write_of_pgsql_is_a_row() {
    let roles = pipelined("pgsql", pipelines::PGSQL, RequestProtocol::Pgsql, 301).await;
    let many = (0..300).map(|number| format!("SELECT name FROM item_{number:03} WHERE id = $1"));
    let expected: Vec<String> = ["SELECT ?".to_owned()].into_iter().chain(many).collect();
    assert_eq!(roles, [expected.clone(), expected]);
}

/// Whether a core dump of a process would show a text.
fn memory_shows(pid: u32, text: &[u8]) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let writable = maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw")));
    let mut ranges = writable.filter_map(|line| line.split(' ').next()?.split_once('-'));
    ranges.any(|(begin, end)| {
        let [begin, end] = [begin, end].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - begin).unwrap()];
        let read = memory.read_at(&mut bytes, begin).unwrap_or_default();
        bytes[..read].windows(text.len()).any(|window| window == text)
    })
}

#[tokio::test]
#[ignore = "needs root"]
async fn memory_of_a_worker_shows_no_secret() {
    let mut node = RequestNode::new("memory");
    let port = free_port();
    node.request("cart", port);
    node.apply().await;
    node.exchange(port, 50).await;
    node.rows("shop/cart", 100).await;
    let worker = workers()[0];
    assert!(memory_shows(worker, b"/item/49?token="), "the rows are not in its memory");
    for secret in ["token=hidden", "Cookie: secret"] {
        assert!(!memory_shows(worker, secret.as_bytes()), "{secret}");
    }
    node.withdraw().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn samples_and_requests_of_one_profile_are_one_unit() {
    let mut node = RequestNode::new("both");
    let port = free_port();
    let cpu = Some(CpuSampling { frequency_hz: 49 });
    let key = node.request_profile("cart", AppProfileSession { cpu, ..profile(requests_on(port), 32 << 20) });
    let states = node.apply().await;
    assert_eq!((states.len(), &states[&key]), (1, &UnitState::Active { notes: Vec::new() }));
    node.wait_until("a worker for each runs", |_| workers().len() == 2).await;
    node.exchange(port, 10).await;
    assert_eq!(node.rows("shop/cart", 20).await.len(), 20);
    node.apply_at(Timestamp::now() + SignedDuration::from_secs(61)).await;
    node.wait_until("the flame graph is stored", |node| node.application.unfinished().is_empty()).await;
    assert!(node.application.profiles().one("shop/cart", Timestamp::now()).is_some());
    assert_eq!(node.rows_now("shop/cart").await.len(), 20);
    node.withdraw().await;
}

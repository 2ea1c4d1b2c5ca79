//! CPU profiles in this machine's kernel: who is sampled and who is not, what comes out, and that nothing stays.
//! Needs root and a C compiler: `cargo test -p trilobite-node --test cpu_profile -- --ignored`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod burners;

use std::{collections::BTreeSet, process::Command, thread::sleep, time::Duration};

use burners::{World, cpu_seconds, id, samples_with, until};
use libbpf_rs::query::{LinkInfoIter, MapInfoIter, ProgInfoIter};
use trilobite_node::{
    kernel::RingView,
    layers::application::{
        Belongs, Live,
        sampler::{Sampler, SamplerSpec},
    },
    report::Place,
};

const RING: u32 = 4 << 20;

/// Leaf cgroup and process of each record that reached the ring.
fn records(sampler: &Sampler) -> Vec<(u64, u32)> {
    let mut found = Vec::new();
    RingView::map(sampler.ring(), RING as usize).unwrap().drain(usize::MAX, &mut |record| {
        let cgroup = u64::from_ne_bytes(record[16..24].try_into().unwrap());
        let pid = u32::from_ne_bytes(record[32..36].try_into().unwrap());
        found.push((cgroup, pid));
    });
    found
}

#[test]
#[ignore = "needs root"]
fn only_the_selected_of_two_cgroups_reaches_the_ring_and_with_all_of_its_time() {
    let mut world = World::new("isolation");
    let program = world.with_frame_pointers("burner", "outer", "inner");
    let (mine, other) = (world.cgroup("mine"), world.cgroup("other"));
    world.decide(&mine, true);
    world.decide_everything_else();
    let (pid, _) = (world.run(&program, &mine, &[]), world.run(&program, &other, &[]));

    let frequency = 499;
    let sampler = Sampler::start(&SamplerSpec { ring_bytes: RING, ..world.sampler(frequency) }).unwrap();
    let before = cpu_seconds(pid).unwrap();
    sleep(Duration::from_secs(4));
    let seconds = cpu_seconds(pid).unwrap() - before;
    let records = records(&sampler);
    let (_, lost) = sampler.counts();

    let strangers = records.iter().filter(|record| **record != (id(&mine), pid)).count();
    let expected = seconds * f64::from(frequency);
    println!("{} records, {expected:.0} expected of {seconds:.2} s, {strangers} of others, {lost} lost", records.len());
    assert_eq!((strangers, lost), (0, 0));
    assert!(records.len() as f64 >= 0.9 * expected && records.len() as f64 <= 1.1 * expected);
}

#[test]
#[ignore = "needs root"]
fn a_cgroup_below_a_selected_one_is_selected() {
    let mut world = World::new("nested");
    let program = world.with_frame_pointers("burner", "outer", "inner");
    let (mine, nested) = (world.cgroup("mine"), world.cgroup("mine/nested"));
    world.decide(&mine, true);
    world.decide_everything_else();
    let pid = world.run(&program, &nested, &[]);

    let sampler = Sampler::start(&SamplerSpec { ring_bytes: RING, ..world.sampler(199) }).unwrap();
    sleep(Duration::from_secs(1));
    let records = records(&sampler);
    assert!(records.len() > 20, "{} records", records.len());
    assert!(records.iter().all(|record| *record == (id(&nested), pid)));
}

#[tokio::test]
#[ignore = "needs root"]
async fn stacks_have_the_names_of_the_functions_and_the_picture_has_the_pods() {
    let mut world = World::new("names");
    let mine = world.cgroup("mine");
    world.decide(&mine, true);
    world.decide_everything_else();
    for (name, outer, inner) in [("primes", "find_primes", "divide"), ("words", "count_words", "split")] {
        let program = world.with_frame_pointers(name, outer, inner);
        world.run(&program, &mine, &[]);
    }
    let program = world.with_frame_pointers("brief", "run_shortly", "hurry");
    let session = world.profile("shop/cart", |_| Belongs::Yes);
    // Ends before the profile does: its code has to be looked up while it lives.
    let brief = world.run(&program, &mine, &["3000"]);
    until(&session, |live| live.meta.counts.samples > 400 && cpu_seconds(brief).is_none()).await;
    session.stop();
    session.over().await;

    let (meta, folded, svg) = world.result("shop/cart");
    for line in ["primes;", "words;", "brief;"] {
        assert!(samples_with(&folded, &[line]) > 10, "{line}");
    }
    for stack in ["main;find_primes;divide", "main;count_words;split", "main;run_shortly;hurry"] {
        assert!(samples_with(&folded, &[stack]) > 10, "{stack}");
    }
    assert_eq!(samples_with(&folded, &[""]), meta.counts.samples);
    assert!(meta.counts.truncated * 20 < meta.counts.samples);
    assert!(svg.contains("shop/cart-7") && svg.contains("find_primes"));
    assert_eq!(meta.problem, "");
}

/// Says to this test that it runs in a pid namespace of its own already.
const NESTED: &str = "TRILOBITE_TEST_NESTED";

#[tokio::test]
#[ignore = "needs root"]
async fn stacks_have_names_on_a_node_that_is_a_container() {
    if std::env::var_os(NESTED).is_none() {
        // As a node of kind: a pid namespace and a /proc of its own, with other numbers than the kernel's programs see.
        let mut node = Command::new("unshare");
        node.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(std::env::current_exe().unwrap());
        node.args(["--exact", "stacks_have_names_on_a_node_that_is_a_container", "--ignored", "--nocapture"]);
        assert!(node.env(NESTED, "yes").status().unwrap().success());
        return;
    }
    let mut world = World::new("container");
    let program = world.with_frame_pointers("burner", "outer", "inner");
    let mine = world.cgroup("mine");
    world.decide(&mine, true);
    world.decide_everything_else();
    // The pod is in a namespace of its own below that.
    let pod = ["--pid", "--fork", "--kill-child", program.to_str().unwrap()];
    world.run(std::path::Path::new("/usr/bin/unshare"), &mine, &pod);
    let session = world.profile("shop/cart", |_| Belongs::Yes);
    until(&session, |live| live.meta.counts.samples > 100).await;
    session.stop();
    session.over().await;

    let (meta, folded, _) = world.result("shop/cart");
    assert!(samples_with(&folded, &["main;outer;inner"]) * 10 > meta.counts.samples * 8);
    assert!(meta.counts.unmapped * 10 < meta.counts.samples);
}

#[tokio::test]
#[ignore = "needs root"]
async fn binaries_without_frame_pointers_show_as_a_truncated_share() {
    let mut world = World::new("truncated");
    let program = world.program("bare", "outer", "inner", &["-O2", "-fomit-frame-pointer"]);
    let mine = world.cgroup("mine");
    world.decide(&mine, true);
    world.decide_everything_else();
    world.run(&program, &mine, &[]);
    let session = world.profile("shop/bare", |_| Belongs::Yes);
    until(&session, |live| live.meta.counts.samples > 100).await;
    session.stop();
    session.over().await;

    let (meta, _, svg) = world.result("shop/bare");
    assert!(meta.counts.truncated * 10 > meta.counts.samples * 9);
    let share = meta.counts.truncated as f64 * 100.0 / meta.counts.samples as f64;
    assert!(svg.contains(&format!("{share:.1} % of the stacks truncated")));
}

#[tokio::test]
#[ignore = "needs root"]
async fn samples_of_a_cgroup_that_turns_out_to_be_anothers_are_dropped_and_counted() {
    let mut world = World::new("undecided");
    let (mine, other) = (world.cgroup("mine"), world.cgroup("other"));
    let (kept, dropped) = (world.with_frame_pointers("kept", "a", "b"), world.with_frame_pointers("dropped", "c", "d"));
    // Nothing is decided, as just after a pod was made.
    world.run(&kept, &mine, &[]);
    world.run(&dropped, &other, &[]);
    let selected = id(&mine);
    let belongs = move |cgroup| if cgroup == selected { Belongs::Yes } else { Belongs::No };
    let session = world.profile("shop/new", belongs);
    until(&session, |live| live.meta.counts.samples > 50 && live.meta.counts.others > 50).await;
    session.stop();
    session.over().await;

    let (meta, folded, _) = world.result("shop/new");
    assert!(samples_with(&folded, &["kept;"]) > 20);
    assert_eq!(samples_with(&folded, &["dropped;"]), 0);
    assert_eq!(samples_with(&folded, &["kept;"]), meta.counts.samples);
    assert!(meta.counts.others > 20);
}

#[tokio::test]
#[ignore = "needs root"]
async fn a_worker_that_is_killed_is_replaced_and_what_it_held_is_counted() {
    let mut world = World::new("killed");
    let program = world.with_frame_pointers("burner", "outer", "inner");
    let mine = world.cgroup("mine");
    world.decide(&mine, true);
    world.decide_everything_else();
    world.run(&program, &mine, &[]);
    let session = world.profile("shop/killed", |_| Belongs::Yes);
    until(&session, |live| live.meta.counts.samples > 50).await;
    let first = session.live().worker;
    // A container's cgroup ends as a whole: who is the first to go takes the agent along.
    let place = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    assert_eq!(place(&first.to_string()), place("self"));
    assert!(Command::new("kill").args(["-9", &first.to_string()]).status().unwrap().success());
    let another = |live: &Live| live.worker != first && live.worker != 0 && !live.over;
    until(&session, |live| another(live) && live.meta.counts.samples > 50).await;
    session.stop();
    session.over().await;

    let (meta, folded, _) = world.result("shop/killed");
    assert_eq!(meta.counts.worker_deaths, 1);
    assert!(meta.counts.samples > 20 && meta.counts.lost > 20);
    assert!(samples_with(&folded, &["outer;inner"]) > 20);
    assert!(meta.problem.contains("signal: 9"), "{}", meta.problem);
    assert_eq!(world.ledger.total(Place::Worker), meta.counts.lost);
}

#[tokio::test]
#[ignore = "needs root"]
async fn workers_that_keep_dying_end_the_profile_and_the_agent_lives() {
    let mut world = World::new("dying");
    let program = world.with_frame_pointers("burner", "outer", "inner");
    let mine = world.cgroup("mine");
    world.decide(&mine, true);
    world.run(&program, &mine, &[]);
    let session = world.profile("shop/dying", |_| Belongs::Yes);
    let mut killed = BTreeSet::new();
    while !session.live().over {
        let worker = session.live().worker;
        if worker != 0 && killed.insert(worker) {
            assert!(Command::new("kill").args(["-9", &worker.to_string()]).status().unwrap().success());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (meta, folded, _) = world.result("shop/dying");
    assert_eq!((meta.counts.worker_deaths, killed.len()), (4, 4));
    assert!(folded.is_empty() && !meta.problem.is_empty());
}

#[tokio::test]
#[ignore = "needs root"]
async fn a_profile_that_an_agents_death_has_interrupted_says_what_was_lost() {
    let mut world = World::new("again");
    let program = world.with_frame_pointers("burner", "outer", "inner");
    let mine = world.cgroup("mine");
    world.decide(&mine, true);
    world.decide_everything_else();
    world.run(&program, &mine, &[]);
    world.results.mark("shop/again", world.expires_at, 70).unwrap();
    let session = world.profile("shop/again", |_| Belongs::Yes);
    until(&session, |live| live.meta.counts.samples > 20).await;
    session.stop();
    session.over().await;

    let (meta, ..) = world.result("shop/again");
    assert_eq!(meta.counts.lost, 70);
    assert!(meta.problem.contains("the agent restarted; 70 samples"), "{}", meta.problem);
    assert_eq!(world.ledger.total(Place::Worker), 70);
}

#[tokio::test]
#[ignore = "needs root"]
async fn an_end_that_cannot_wait_leaves_neither_a_worker_nor_half_a_result() {
    let mut world = World::new("cut");
    let program = world.with_frame_pointers("burner", "outer", "inner");
    let mine = world.cgroup("mine");
    world.decide(&mine, true);
    world.decide_everything_else();
    world.run(&program, &mine, &[]);
    let session = world.profile("shop/cut", |_| Belongs::Yes);
    until(&session, |live| live.meta.counts.samples > 20).await;
    let worker = session.live().worker;
    session.end(Duration::ZERO).await;
    assert!(!std::path::Path::new(&format!("/proc/{worker}")).exists());
    assert!(world.results.get("shop/cut", jiff::Timestamp::now()).unwrap().is_none());

    let session = world.profile("shop/cut", |_| Belongs::Yes);
    until(&session, |live| live.meta.counts.samples > 20).await;
    session.end(Duration::from_secs(60)).await;
    assert!(samples_with(&world.result("shop/cut").1, &["outer;inner"]) > 10);
}

/// Ids of everything in the kernel that a profile is made of, whoever has it.
fn in_the_kernel() -> BTreeSet<(&'static str, u32)> {
    let programs: BTreeSet<u32> =
        ProgInfoIter::default().filter(|program| program.name == "on_tick").map(|program| program.id).collect();
    let maps =
        MapInfoIter::default().filter(|map| ["samples", "scratch", "counts"].iter().any(|name| map.name == *name));
    let links = LinkInfoIter::default().filter(|link| programs.contains(&link.prog_id));
    let mut all: BTreeSet<_> = maps.map(|map| ("map", map.id)).chain(links.map(|link| ("link", link.id))).collect();
    all.extend(programs.iter().map(|id| ("program", *id)));
    all
}

#[tokio::test]
#[ignore = "needs root"]
async fn nothing_stays_after_the_end() {
    let mut world = World::new("after");
    let program = world.with_frame_pointers("burner", "outer", "inner");
    let mine = world.cgroup("mine");
    world.decide(&mine, true);
    world.decide_everything_else();
    world.run(&program, &mine, &[]);
    let before = in_the_kernel();
    let session = world.profile("shop/after", |_| Belongs::Yes);
    until(&session, |live| live.meta.counts.samples > 20).await;
    let worker = session.live().worker;
    let ours: BTreeSet<_> = in_the_kernel().difference(&before).copied().collect();
    assert!(ours.iter().any(|(kind, _)| *kind == "program") && ours.iter().any(|(kind, _)| *kind == "map"));
    session.stop();
    session.over().await;

    assert!(!std::path::Path::new(&format!("/proc/{worker}")).exists());
    // Maps are freed a little after their last descriptor is closed.
    for _ in 0..50 {
        if in_the_kernel().is_disjoint(&ours) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?} stayed", in_the_kernel().intersection(&ours).collect::<Vec<_>>());
}

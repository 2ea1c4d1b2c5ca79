//! CPU profiles in this machine's kernel: which processes are sampled, what the result contains, and that nothing stays loaded.
//! Needs root, a C compiler and the worker's binary:
//! `cargo build -p trilobite-worker && cargo test -p trilobite-node --test cpu_profile -- --ignored`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod cpu_code;
mod cpu_load;

use std::{collections::BTreeSet, process::Command, thread::sleep, time::Duration};

use cpu_load::{ProfileFixture, cpu_seconds, id, samples_with, wait_until};
use libbpf_rs::query::{LinkInfoIter, MapInfoIter, ProgInfoIter};
use trilobite_node::{
    layers::application::{
        Membership, SessionStatus,
        cpu::programs::{Sampler, SamplerSpec},
    },
    loss::LossPoint,
};
use trilobite_node_ebpf::Record;
use trilobite_worker_wire::RingView;

const RING: u32 = 4 << 20;

/// Leaf cgroup and process of each record that reached the ring.
fn records(sampler: &Sampler) -> Vec<(u64, u32)> {
    let mut found = Vec::new();
    RingView::map(sampler.ring(), RING as usize).unwrap().drain(usize::MAX, &mut |record| {
        let record = Record::read(record).unwrap();
        found.push((record.cgroup, record.exec_pid));
    });
    found
}

#[test]
#[ignore = "needs root"]
fn all_time_of_the_selected_cgroup_is_sampled_and_no_other() {
    let mut fixture = ProfileFixture::new("isolation");
    let program = fixture.with_frame_pointers("burner", "outer", "inner");
    let (mine, other) = (fixture.cgroup("mine"), fixture.cgroup("other"));
    fixture.decide(&mine, true);
    fixture.deselect_everything_else();
    let (pid, _) = (fixture.start(&program, &mine, &[]), fixture.start(&program, &other, &[]));

    let frequency = 499;
    let sampler = Sampler::start(&SamplerSpec { ring_bytes: RING, ..fixture.sampler(frequency) }).unwrap();
    let before = cpu_seconds(pid).unwrap();
    sleep(Duration::from_secs(4));
    let seconds = cpu_seconds(pid).unwrap() - before;
    let records = records(&sampler);
    let (_, lost) = sampler.counts();

    let strangers = records.iter().filter(|record| **record != (id(&mine), pid)).count();
    let expected = seconds * f64::from(frequency);
    println!(
        "{} records, {expected:.0} expected of {seconds:.2} s, {strangers} of other processes, {lost} lost",
        records.len()
    );
    assert_eq!((strangers, lost), (0, 0));
    assert!(records.len() as f64 >= 0.9 * expected && records.len() as f64 <= 1.1 * expected);
}

#[test]
#[ignore = "needs root"]
fn cgroup_below_a_selected_one_is_selected() {
    let mut fixture = ProfileFixture::new("nested");
    let program = fixture.with_frame_pointers("burner", "outer", "inner");
    let (mine, nested) = (fixture.cgroup("mine"), fixture.cgroup("mine/nested"));
    fixture.decide(&mine, true);
    fixture.deselect_everything_else();
    let pid = fixture.start(&program, &nested, &[]);

    let sampler = Sampler::start(&SamplerSpec { ring_bytes: RING, ..fixture.sampler(199) }).unwrap();
    sleep(Duration::from_secs(1));
    let records = records(&sampler);
    assert!(records.len() > 20, "{} records", records.len());
    assert!(records.iter().all(|record| *record == (id(&nested), pid)));
}

#[tokio::test]
#[ignore = "needs root"]
async fn stacks_have_function_names_and_the_picture_has_the_pods() {
    let mut fixture = ProfileFixture::new("names");
    let mine = fixture.cgroup("mine");
    fixture.decide(&mine, true);
    fixture.deselect_everything_else();
    for (name, outer, inner) in [("primes", "find_primes", "divide"), ("words", "count_words", "split")] {
        let program = fixture.with_frame_pointers(name, outer, inner);
        fixture.start(&program, &mine, &[]);
    }
    let program = fixture.with_frame_pointers("brief", "run_shortly", "hurry");
    let session = fixture.profile("shop/cart", |_| Membership::Selected);
    // Ends before the profile does: its mappings have to be read while it runs.
    let brief = fixture.start(&program, &mine, &["3000"]);
    wait_until(&session, |status| status.meta.counts.samples > 400 && cpu_seconds(brief).is_none()).await;
    session.stop();
    session.wait_until_finished().await;

    let (meta, folded, svg) = fixture.result("shop/cart");
    for line in ["primes;", "words;", "brief;"] {
        assert!(samples_with(&folded, &[line]) > 10, "{line}");
    }
    for stack in [
        "cart-7/app;primes;primes;main;find_primes;divide",
        "cart-7/app;words;words;main;count_words;split",
        "cart-7/app;brief;brief;main;run_shortly;hurry",
    ] {
        assert!(samples_with(&folded, &[stack]) > 10, "{stack}");
    }
    assert_eq!(samples_with(&folded, &[""]), meta.counts.samples);
    assert!(meta.counts.truncated * 20 < meta.counts.samples);
    let seconds = meta.sampled_ms() as f64 / 1000.0;
    let title = format!(", {} samples at 199 Hz in {seconds:.1} s", meta.counts.samples);
    for text in ["CPU of shop/cart-7 on here: ", " CPUs of a limit of 0.3, ", &title, "find_primes", ">program<"] {
        assert!(svg.contains(text), "{text}");
    }
    assert_eq!(meta.problem, "");
}

/// Environment variable that is set in the pid namespace of the nested test.
const NESTED: &str = "TRILOBITE_TEST_NESTED";

#[tokio::test]
#[ignore = "needs root"]
async fn stacks_have_names_on_a_node_that_is_a_container() {
    if std::env::var_os(NESTED).is_none() {
        // As a node of kind: a pid namespace and a /proc of its own, with other pids than the kernel programs see.
        let mut node = Command::new("unshare");
        node.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(std::env::current_exe().unwrap());
        node.args(["--exact", "stacks_have_names_on_a_node_that_is_a_container", "--ignored", "--nocapture"]);
        assert!(node.env(NESTED, "yes").status().unwrap().success());
        return;
    }
    let mut fixture = ProfileFixture::new("container");
    let program = fixture.with_frame_pointers("burner", "outer", "inner");
    let mine = fixture.cgroup("mine");
    fixture.decide(&mine, true);
    fixture.deselect_everything_else();
    // The pod has a pid namespace below that.
    let pod = ["--pid", "--fork", "--kill-child", program.to_str().unwrap()];
    fixture.start(std::path::Path::new("/usr/bin/unshare"), &mine, &pod);
    let session = fixture.profile("shop/cart", |_| Membership::Selected);
    wait_until(&session, |status| status.meta.counts.samples > 100).await;
    session.stop();
    session.wait_until_finished().await;

    let (meta, folded, _) = fixture.result("shop/cart");
    assert!(samples_with(&folded, &["main;outer;inner"]) * 10 > meta.counts.samples * 8);
    assert!(meta.counts.unmapped * 10 < meta.counts.samples);
}

#[tokio::test]
#[ignore = "needs root"]
async fn reading_samples_leaves_no_trace_in_the_profile() {
    let mut fixture = ProfileFixture::new("trace");
    let program = fixture.with_frame_pointers("burner", "outer", "inner");
    let mine = fixture.cgroup("mine");
    fixture.decide(&mine, true);
    fixture.deselect_everything_else();
    fixture.start(&program, &mine, &[]);
    let session = fixture.profile("shop/trace", |_| Membership::Selected);
    wait_until(&session, |status| status.meta.counts.samples > 600).await;
    session.stop();
    session.wait_until_finished().await;

    let (meta, folded, _) = fixture.result("shop/trace");
    // A program that computes is in the kernel for interrupts and when others take its processor, on a busy machine too.
    let kernel = samples_with(&folded, &["_[k]"]);
    assert_eq!(samples_with(&folded, &["irq_work"]), 0);
    assert!(kernel * 10 < meta.counts.samples, "{kernel} of {} samples", meta.counts.samples);
    assert_eq!(meta.counts.lost, 0);
}

/// A file system of some kilobytes that is full, and removed at the end.
struct FullDisk(std::path::PathBuf);

impl FullDisk {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("full-disk-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16k", "none"]).arg(&path).status();
        assert!(mounted.unwrap().success());
        let filler = vec![0; 64 << 10];
        let _ = std::fs::write(path.join("filler"), filler);
        Self(path)
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
        let larger = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&self.0).status();
        assert!(larger.unwrap().success());
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test]
#[ignore = "needs root"]
async fn result_on_a_full_disk_can_be_fetched_and_is_written_later() {
    let mut fixture = ProfileFixture::new("full");
    let program = fixture.with_frame_pointers("burner", "outer", "inner");
    let mine = fixture.cgroup("mine");
    fixture.decide(&mine, true);
    fixture.deselect_everything_else();
    fixture.start(&program, &mine, &[]);
    let disk = FullDisk::new();
    fixture.results = trilobite_node::layers::application::Results::open(&disk.0, fixture.ledger.clone());
    let session = fixture.profile("shop/full", |_| Membership::Selected);
    let status = session.shared_status();
    wait_until(&session, |status| status.meta.counts.samples > 50).await;
    session.stop();
    session.wait_until_finished().await;

    let problem = status.lock().kept_in_memory.as_ref().map(|problem| problem.message()).unwrap_or_default();
    assert!(problem.contains("kept in memory"), "{problem}");
    let (meta, folded, svg) = fixture.result("shop/full");
    assert!(samples_with(&folded, &["outer;inner"]) > 20 && svg.contains("</svg>"));
    assert!(!disk.0.join("profiles/shop@full.json").exists());
    disk.make_room();
    fixture.results.purge(meta.ended + jiff::SignedDuration::from_secs(10));
    assert_eq!(std::fs::read_to_string(disk.0.join("profiles/shop@full.folded")).unwrap(), folded);
    assert!(disk.0.join("profiles/shop@full.json").exists());
}

#[tokio::test]
#[ignore = "needs root"]
async fn binaries_without_frame_pointers_have_truncated_stacks() {
    let mut fixture = ProfileFixture::new("truncated");
    let program = fixture.program("bare", "outer", "inner", &["-O2", "-fomit-frame-pointer"]);
    let mine = fixture.cgroup("mine");
    fixture.decide(&mine, true);
    fixture.deselect_everything_else();
    fixture.start(&program, &mine, &[]);
    let session = fixture.profile("shop/bare", |_| Membership::Selected);
    wait_until(&session, |status| status.meta.counts.samples > 100).await;
    session.stop();
    session.wait_until_finished().await;

    let (meta, _, svg) = fixture.result("shop/bare");
    assert!(meta.counts.truncated * 10 > meta.counts.samples * 9);
    let share = meta.counts.truncated as f64 * 100.0 / meta.counts.samples as f64;
    assert!(svg.contains(&format!("{share:.1} % of the stacks truncated")));
}

#[tokio::test]
#[ignore = "needs root"]
async fn samples_of_a_cgroup_found_not_selected_are_dropped() {
    let mut fixture = ProfileFixture::new("undecided");
    let (mine, other) = (fixture.cgroup("mine"), fixture.cgroup("other"));
    let (kept, dropped) =
        (fixture.with_frame_pointers("kept", "a", "b"), fixture.with_frame_pointers("dropped", "c", "d"));
    // No cgroup is decided, as just after a pod was created.
    fixture.start(&kept, &mine, &[]);
    fixture.start(&dropped, &other, &[]);
    let selected = id(&mine);
    let membership = move |cgroup| if cgroup == selected { Membership::Selected } else { Membership::NotSelected };
    let session = fixture.profile("shop/new", membership);
    wait_until(&session, |status| status.meta.counts.samples > 50 && status.meta.counts.others > 50).await;
    session.stop();
    session.wait_until_finished().await;

    let (meta, folded, _) = fixture.result("shop/new");
    assert!(samples_with(&folded, &["kept;"]) > 20);
    assert_eq!(samples_with(&folded, &["dropped;"]), 0);
    assert_eq!(samples_with(&folded, &["kept;"]), meta.counts.samples);
    assert!(meta.counts.others > 20);
}

#[tokio::test]
#[ignore = "needs root"]
async fn killed_worker_is_replaced_and_its_samples_are_counted() {
    let mut fixture = ProfileFixture::new("killed");
    let program = fixture.with_frame_pointers("burner", "outer", "inner");
    let mine = fixture.cgroup("mine");
    fixture.decide(&mine, true);
    fixture.deselect_everything_else();
    fixture.start(&program, &mine, &[]);
    let session = fixture.profile("shop/killed", |_| Membership::Selected);
    wait_until(&session, |status| status.meta.counts.samples > 50).await;
    let first = session.status().worker;
    // The OOM killer ends a container's cgroup as a whole: a worker that it prefers would take the agent along.
    let oom_score = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    assert_eq!(oom_score(&first.to_string()), oom_score("self"));
    assert!(Command::new("kill").args(["-9", &first.to_string()]).status().unwrap().success());
    let another = |status: &SessionStatus| status.worker != first && status.worker != 0 && !status.finished;
    wait_until(&session, |status| another(status) && status.meta.counts.samples > 50).await;
    session.stop();
    session.wait_until_finished().await;

    let (meta, folded, _) = fixture.result("shop/killed");
    assert_eq!(meta.counts.worker_deaths, 1);
    assert!(meta.counts.samples > 20 && meta.counts.lost > 20);
    assert!(samples_with(&folded, &["outer;inner"]) > 20);
    assert!(meta.problem.contains("signal: 9"), "{}", meta.problem);
    assert_eq!(fixture.ledger.total_at(LossPoint::Worker), meta.counts.lost);
}

#[tokio::test]
#[ignore = "needs root"]
async fn worker_that_hangs_is_replaced() {
    let mut fixture = ProfileFixture::new("hanging");
    let program = fixture.with_frame_pointers("burner", "outer", "inner");
    let mine = fixture.cgroup("mine");
    fixture.decide(&mine, true);
    fixture.deselect_everything_else();
    fixture.start(&program, &mine, &[]);
    let session = fixture.profile("shop/hanging", |_| Membership::Selected);
    wait_until(&session, |status| status.meta.counts.samples > 50).await;
    let first = session.status().worker;
    assert!(Command::new("kill").args(["-STOP", &first.to_string()]).status().unwrap().success());
    let another = |status: &SessionStatus| status.worker != first && status.worker != 0 && !status.finished;
    wait_until(&session, |status| another(status) && status.meta.counts.samples > 50).await;
    session.stop();
    session.wait_until_finished().await;
    let (meta, ..) = fixture.result("shop/hanging");
    assert_eq!(meta.counts.worker_deaths, 1);
    assert!(meta.problem.contains("it has not reported for 20 s"), "{}", meta.problem);
}

#[tokio::test]
#[ignore = "needs root"]
async fn dying_workers_end_the_profile_and_not_the_agent() {
    let mut fixture = ProfileFixture::new("dying");
    let program = fixture.with_frame_pointers("burner", "outer", "inner");
    let mine = fixture.cgroup("mine");
    fixture.decide(&mine, true);
    fixture.start(&program, &mine, &[]);
    let session = fixture.profile("shop/dying", |_| Membership::Selected);
    let mut killed = BTreeSet::new();
    while !session.status().finished {
        let worker = session.status().worker;
        if worker != 0 && killed.insert(worker) {
            assert!(Command::new("kill").args(["-9", &worker.to_string()]).status().unwrap().success());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (meta, folded, _) = fixture.result("shop/dying");
    assert_eq!((meta.counts.worker_deaths, killed.len()), (4, 4));
    assert!(folded.is_empty() && !meta.problem.is_empty());
}

#[tokio::test]
#[ignore = "needs root"]
async fn profile_after_a_crash_of_the_agent_counts_lost_samples() {
    let mut fixture = ProfileFixture::new("again");
    let program = fixture.with_frame_pointers("burner", "outer", "inner");
    let mine = fixture.cgroup("mine");
    fixture.decide(&mine, true);
    fixture.deselect_everything_else();
    fixture.start(&program, &mine, &[]);
    fixture.results.write_marker("shop/again", fixture.expires_at, 70).unwrap();
    let session = fixture.profile("shop/again", |_| Membership::Selected);
    wait_until(&session, |status| status.meta.counts.samples > 20).await;
    session.stop();
    session.wait_until_finished().await;

    let (meta, ..) = fixture.result("shop/again");
    assert_eq!(meta.counts.lost, 70);
    assert!(meta.problem.contains("the agent restarted; 70 samples"), "{}", meta.problem);
    assert_eq!(fixture.ledger.total_at(LossPoint::Worker), 70);
}

#[tokio::test]
#[ignore = "needs root"]
async fn immediate_shutdown_leaves_no_worker_and_no_partial_result() {
    let mut fixture = ProfileFixture::new("cut");
    let program = fixture.with_frame_pointers("burner", "outer", "inner");
    let mine = fixture.cgroup("mine");
    fixture.decide(&mine, true);
    fixture.deselect_everything_else();
    fixture.start(&program, &mine, &[]);
    let session = fixture.profile("shop/cut", |_| Membership::Selected);
    wait_until(&session, |status| status.meta.counts.samples > 20).await;
    let worker = session.status().worker;
    session.shut_down(Duration::ZERO).await;
    assert!(!std::path::Path::new(&format!("/proc/{worker}")).exists());
    assert!(fixture.results.get("shop/cut", jiff::Timestamp::now()).unwrap().is_none());

    let session = fixture.profile("shop/cut", |_| Membership::Selected);
    wait_until(&session, |status| status.meta.counts.samples > 20).await;
    session.shut_down(Duration::from_secs(60)).await;
    assert!(samples_with(&fixture.result("shop/cut").1, &["outer;inner"]) > 10);
}

/// Ids of all programs, maps and links in the kernel that may be a profile's.
fn in_the_kernel() -> BTreeSet<(&'static str, u32)> {
    let programs: BTreeSet<u32> =
        ProgInfoIter::default().filter(|program| program.name == "on_tick").map(|program| program.id).collect();
    let maps = MapInfoIter::default()
        .filter(|map| ["samples", "samples_seen", "scratch", "drops"].iter().any(|name| map.name == *name));
    let links = LinkInfoIter::default().filter(|link| programs.contains(&link.prog_id));
    let mut all: BTreeSet<_> = maps.map(|map| ("map", map.id)).chain(links.map(|link| ("link", link.id))).collect();
    all.extend(programs.iter().map(|id| ("program", *id)));
    all
}

#[tokio::test]
#[ignore = "needs root"]
async fn nothing_stays_loaded_after_the_end() {
    let mut fixture = ProfileFixture::new("after");
    let program = fixture.with_frame_pointers("burner", "outer", "inner");
    let mine = fixture.cgroup("mine");
    fixture.decide(&mine, true);
    fixture.deselect_everything_else();
    fixture.start(&program, &mine, &[]);
    let before = in_the_kernel();
    let session = fixture.profile("shop/after", |_| Membership::Selected);
    wait_until(&session, |status| status.meta.counts.samples > 20).await;
    let worker = session.status().worker;
    let ours: BTreeSet<_> = in_the_kernel().difference(&before).copied().collect();
    assert!(ours.iter().any(|(kind, _)| *kind == "program") && ours.iter().any(|(kind, _)| *kind == "map"));
    session.stop();
    session.wait_until_finished().await;

    assert!(!std::path::Path::new(&format!("/proc/{worker}")).exists());
    // The kernel frees maps a little after their last descriptor is closed.
    for _ in 0..50 {
        if in_the_kernel().is_disjoint(&ours) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?} stayed", in_the_kernel().intersection(&ours).collect::<Vec<_>>());
}

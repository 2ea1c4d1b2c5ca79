//! A profile that has ended costs nothing: its programs, maps and memory are gone, twenty times in a row, by deletion and by time.

use trilobite_e2e::{
    Fixture, Kubectl, agents,
    cgroups::PodCgroups,
    eventually,
    kernel::{self, FLOWS, PROFILE},
    memory::cgroup_memory,
    parameters::count,
    pods::{self, Workload},
    profiles::{Folded, is_completed, profile_yaml},
    wait::that,
};

/// Each of the burners, and the functions in which it burns: the outermost and the innermost. One between them is missing from
/// a sample that was taken before the innermost had made its frame.
const BURNERS: [(&str, &[&str]); 3] = [
    ("burn_primes", &["main", "is_prime"]),
    ("burn_matrix", &["main", "dot_product"]),
    ("burn_hash", &["main", "mix_word"]),
];
/// Samples that a round takes at least.
const SAMPLES: u32 = 1000;
/// Samples a second of CPU time.
const FREQUENCY: u32 = 499;
/// CPU time of the burners in which a round has them and more: some are on their way to their names, or have none.
const SECONDS: f64 = 3.0 * SAMPLES as f64 / FREQUENCY as f64;
/// Memory of the agent's cgroup may differ by this much after a round, in bytes.
const TOLERANCE: u64 = 1 << 20;

/// How a round's profile ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Deleted,
    ItsTimeIsOver,
}

impl Ending {
    fn of_round(round: usize) -> Self {
        if round.is_multiple_of(2) { Self::Deleted } else { Self::ItsTimeIsOver }
    }

    fn seconds(self) -> u32 {
        match self {
            Self::Deleted => 300,
            // Enough for the samples where other tests have half of the processors.
            Self::ItsTimeIsOver => 6,
        }
    }
}

#[test]
fn profile_adds_its_programs_and_leaves_nothing_behind() {
    let fixture = Fixture::shared();
    fixture.stack("{security: {mode: Enabled}, network: {mode: OnDemand}, application: {mode: OnDemand}}");
    pods::namespace(&fixture.kubectl, "rounds");
    for (program, _) in BURNERS {
        let pod = program.replace('_', "-");
        Workload { namespace: "rounds", name: &pod, node: "node1", command: &format!("[{program}]") }
            .start(&fixture.kubectl);
    }
    let burners =
        BURNERS.map(|(program, _)| PodCgroups::of(&fixture.kubectl, "node1", "rounds", &program.replace('_', "-")));
    let burnt = || burners.iter().map(PodCgroups::cpu_seconds).sum::<f64>();
    let pid = agents::pid_on("node1");
    let idle = eventually("the kernel has neither a flow nor a profile program", 30, || {
        let objects = kernel::objects();
        that(objects.count(&[FLOWS, PROFILE].concat()) == 0, format!("{objects:?}"))?;
        Ok(objects)
    });
    assert!(idle.count(kernel::PROCESSES) > 0, "security is not active: {idle:?}");
    let memory = cgroup_memory(pid);

    for round in 0..count("TRILOBITE_ROUNDS", 20) {
        let (name, end) = (format!("round-{round}"), Ending::of_round(round));
        let profile = profile(&name, end);
        fixture.kubectl.apply(&profile);
        eventually("the profile is loaded, on its pods' node alone", 30, || {
            let objects = kernel::objects();
            that(objects.count(PROFILE) == 1 && objects.links > idle.links, format!("{objects:?}"))
        });
        let from = burnt();
        match end {
            // Once by the status, which counts every five seconds, and from then on by what the kernel says that was burnt.
            Ending::Deleted if round == 0 => {
                eventually("the profile has its samples", 60, || has_samples(&fixture.kubectl, &name));
            }
            Ending::Deleted => eventually("the pods have burnt enough to be sampled", 60, || {
                let seconds = burnt() - from;
                that(seconds >= SECONDS, format!("{seconds:.2} s of {SECONDS:.2} s"))
            }),
            Ending::ItsTimeIsOver => {
                eventually("the profile is completed", 60, || is_completed(&fixture.kubectl, "rounds", &name))
            }
        }
        fixture.kubectl.delete(&profile);
        eventually("programs, maps and links are as before", 30, || {
            let objects = kernel::objects();
            that(objects == idle, format!("idle: {idle:?}\nnow: {objects:?}"))
        });
        let now = eventually("the agent's cgroup holds what it held", 30, || {
            let now = cgroup_memory(pid);
            that(now <= memory + TOLERANCE, format!("{memory} bytes before, {now} after round {round}"))?;
            Ok(now)
        });
        let folded = Folded::fetch("node1", &format!("rounds/{name}"));
        let named = BURNERS.map(|(program, functions)| {
            let samples = folded.samples_with(&[&[program], functions].concat());
            assert!(samples > 0, "round {round}: no sample of {program} has the names of its functions");
            samples
        });
        println!(
            "round {round}, {end:?}: {named:?} samples with names, {} bytes more than before",
            now.saturating_sub(memory)
        );
        assert!(named.iter().sum::<u64>() >= u64::from(SAMPLES), "round {round}: {named:?}");
        assert_eq!(agents::pid_on("node1"), pid, "the agent was restarted in round {round}");
    }
    fixture.kubectl.run(&["delete", "namespace", "rounds", "--wait=false"]);
}

fn profile(name: &str, end: Ending) -> String {
    let seconds = end.seconds();
    let spec = format!("podSelector: {{}}, cpu: {{frequencyHz: {FREQUENCY}}}, durationSeconds: {seconds}");
    profile_yaml("rounds", name, &spec)
}

fn has_samples(kubectl: &Kubectl, name: &str) -> Result<(), String> {
    let object = kubectl.get(&["-n", "rounds", "appprofile", name])?;
    // Some of them are on their way to their names, or have none.
    let enough =
        object["status"]["results"]["samples"].as_i64().is_some_and(|samples| samples >= 2 * i64::from(SAMPLES));
    that(enough, format!("{:#}", object["status"]))
}

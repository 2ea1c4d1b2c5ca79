//! AppProfiles: how tests make them and wait for their end. Results of CPU profiles: fetched through the agent's socket by our own
//! command line, and what they are about from the node's disk, where the agent keeps them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    Kubectl, agents,
    clients::{self, socket},
    eventually,
    fixture::{binary, condition},
    kernel::{self, Objects},
    wait::that,
};

/// An AppProfile with this spec (fields in flow style).
pub fn profile_yaml(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: trilobite.dev/v1alpha1\nkind: AppProfile\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: \
         {{{spec}}}\n"
    )
}

/// Makes an AppProfile with this spec (fields in flow style), and waits until it is active.
#[track_caller]
pub fn start_profile(kubectl: &Kubectl, namespace: &str, name: &str, spec: &str) {
    kubectl.apply(&profile_yaml(namespace, name, spec));
    eventually("the profile is active on its nodes", 60, || {
        let object = kubectl.get(&["-n", namespace, "appprofile", name])?;
        let active = condition(&object, "Ready").is_some_and(|ready| ready["status"] == "True");
        that(active, format!("{:#}", object["status"]))
    });
}

/// `Ok` once an AppProfile has ended by its duration.
pub fn is_completed(kubectl: &Kubectl, namespace: &str, name: &str) -> Result<(), String> {
    let object = kubectl.get(&["-n", namespace, "appprofile", name])?;
    let completed = condition(&object, "Completed")
        .is_some_and(|completed| completed["status"] == "True" && completed["reason"] == "DurationElapsed");
    that(completed, format!("{:#}", object["status"]))
}

/// Deletes every AppProfile, e.g. of a test that failed, and waits until no worker and no program of requests is left. Returns what
/// of ours is in the kernel then.
#[track_caller]
pub fn delete_all(kubectl: &Kubectl) -> Objects {
    kubectl.run(&["delete", "appprofiles", "--all", "--all-namespaces"]);
    eventually("no worker runs", 60, || {
        let (objects, workers) = (kernel::objects(), agents::workers());
        that(workers.is_empty() && objects.count(kernel::REQUESTS) == 0, format!("{workers:?} {objects:?}"))?;
        Ok(objects)
    })
}

/// Folded stacks of a result: each line is a stack, its root first, and its samples.
pub struct Folded(Vec<(String, u64)>);

impl Folded {
    /// Fetches the result of `namespace/name` from a node's agent.
    #[track_caller]
    pub fn fetch(node: &str, name: &str) -> Self {
        let folder = std::env::temp_dir();
        let file = |extension: &str| folder.join(format!("trilobite-e2e-{}.{extension}", name.replace('/', "-")));
        let (folded, svg) = (file("folded"), file("svg"));
        let mut command = std::process::Command::new(binary("trilobite"));
        command.arg("--socket").arg(socket(node)).args(["profile", name, "--folded"]).arg(&folded).arg("-o").arg(&svg);
        clients::succeed(&mut command);
        let text = fs::read_to_string(&folded).unwrap();
        for path in [folded, svg] {
            fs::remove_file(path).unwrap();
        }
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (stack, samples) = line.rsplit_once(' ')?;
            Some((stack.to_owned(), samples.parse().ok()?))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// Samples of stacks that hold all of these frames.
    pub fn samples_with(&self, frames: &[&str]) -> u64 {
        let has = |stack: &str, frame: &str| stack.split(';').any(|one| one == frame);
        self.0
            .iter()
            .filter(|(stack, _)| frames.iter().all(|frame| has(stack, frame)))
            .map(|(_, samples)| samples)
            .sum()
    }
}

/// What the result of `namespace/name` is about, as the node's disk has it.
pub fn meta(node: &str, name: &str) -> Result<Value, String> {
    let folder = PathBuf::from(format!("/var/lib/trilobite/{node}/profiles"));
    let files = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let read = |path: &Path| serde_json::from_str::<Value>(&fs::read_to_string(path).ok()?).ok();
    let metas = files.flatten().filter_map(|file| read(&file.path()));
    metas
        .into_iter()
        .find(|meta| meta["name"] == name)
        .ok_or_else(|| format!("no result of {name} in {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_those_of_whole_frames() {
        let folded = Folded::parse("burner;main;divide 7\nburner;main;multiply 3\nother;main;divider 1\n");
        assert_eq!(folded.samples_with(&["main", "divide"]), 7);
        assert_eq!(folded.samples_with(&["burner"]), 10);
    }
}

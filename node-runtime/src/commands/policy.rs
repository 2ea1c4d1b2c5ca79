//! `trilobite-node policy explain`: the plan of policies on a kernel, as text. Loads nothing and needs no privilege.

use std::{collections::BTreeMap, fs, io::Write, sync::Arc};

use anyhow::{Context, bail};
use jiff::Timestamp;
use trilobite_crds::{files::Resource, node::PartContent};

use crate::{
    args::{ExplainArguments, PolicyCommand},
    desired::files,
    kernel,
    plan::policy::{
        Compiled, Kernel, PolicyId, PolicyInput, PolicyVersion, compile,
        explain::explain,
        facts::KernelFacts,
        machine::{Machine, ProbedWays},
    },
};

pub(super) fn execute(command: &PolicyCommand) -> anyhow::Result<()> {
    let PolicyCommand::Explain(arguments) = command;
    let resources = files::read(&arguments.files)?;
    let kernel = kernel_of(arguments)?;
    let (text, refused) = explain_policies(&resources, &*kernel);
    write!(std::io::stdout(), "{text}")?;
    if refused > 0 {
        bail!("{refused} of the policies are refused");
    }
    Ok(())
}

fn kernel_of(arguments: &ExplainArguments) -> anyhow::Result<Box<dyn Kernel>> {
    let Some(path) = &arguments.kernel else {
        let facts = kernel::probe::facts(None);
        let ways = ProbedWays { fentry: facts.btf, ..ProbedWays::default() };
        return Ok(Box::new(Machine::new(&facts, ways)));
    };
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let facts = KernelFacts::parse(&text).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    Ok(Box::new(facts))
}

/// The plans as text, and how many policies are refused.
pub fn explain_policies(resources: &[Resource], kernel: &dyn Kernel) -> (String, usize) {
    let (desired, refusals) = files::plan(resources, Timestamp::UNIX_EPOCH);
    let mut inputs = Vec::new();
    let mut names: BTreeMap<PolicyId, String> = BTreeMap::new();
    let mut parts: Vec<_> = desired.parts.into_iter().collect();
    parts.sort_by(|one, other| one.source.cmp(&other.source));
    for (number, part) in (1..).zip(parts) {
        let PartContent::Policy(content) = part.content else { continue };
        let id = PolicyId(number);
        names.insert(id, part.source.to_string());
        let wanted = PolicyVersion { id, part: Arc::new(content) };
        inputs.push(PolicyInput { source: part.source, wanted, former: None });
    }
    let compiled = compile(&inputs, kernel, &Compiled::default());
    let name = |id: PolicyId| names.get(&id).cloned().unwrap_or_default();
    let mut text = explain(&compiled, &name);
    for refusal in &refusals {
        text += &format!("refused {}: {}: {}\n", refusal.source, refusal.reason.as_str(), refusal.message);
    }
    let refused = compiled.refused.len() + refusals.len();
    (text, refused)
}

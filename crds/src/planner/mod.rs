//! The planner: user resources to what nodes are told. Pure; operator and agent call it and must agree.

pub mod budget;
mod digest;
mod policy;
mod refusal;
mod session;
mod tetragon;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

pub use digest::{content_digest, object_name, part_digest, profile_digest};
pub use refusal::Refusal;
pub use session::{session_for_capture, session_for_profile};

use crate::{
    ObservabilityStack, TracingPolicy, TracingPolicyNamespaced, UserKind,
    node::{
        FlowsPart, NodeProfile, NodeProfileSpec, PartContent, PartRef, PodScope, ProcessesPart, ProfilePart,
        ProfilePartSpec, Source,
    },
    selector,
    stack::{Layer, LayerMode, LayerView},
};
use policy::PolicyView;

/// Most parts of a profile.
pub const MAX_PARTS: usize = 512;
/// Most bytes of a profile's JSON.
pub const MAX_PROFILE_BYTES: usize = 64 << 10;
/// The pool of nodes until pools exist.
pub const DEFAULT_POOL: &str = "default";

/// All that lasts: the stack and the policies. What is bounded in time is a session.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// The stack.
    pub stack: &'a ObservabilityStack,
    /// Cluster-wide policies, in any order.
    pub policies: Vec<&'a TracingPolicy>,
    /// Policies of namespaces, in any order.
    pub namespaced_policies: Vec<&'a TracingPolicyNamespaced>,
}

/// What nodes are told, and what is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Sorted by name.
    pub parts: Vec<ProfilePart>,
    /// Lists exactly `parts`.
    pub profile: NodeProfile,
    /// In the order of resources; one resource may have several.
    pub refusals: Vec<Refusal>,
}

/// Plans a pool of nodes. The same inputs give the same names and digests, whatever their order.
pub fn plan(inputs: &Inputs<'_>) -> Planned {
    let stack = inputs.stack;
    let mut planned = Planning { source: stack.source(), parts: Vec::new(), refusals: Vec::new() };
    planned.application(stack);
    let network = planned.network(stack);
    let security = planned.security(stack, inputs);
    planned.parts.extend(network.into_iter().chain(security));
    let Planning { mut parts, refusals, .. } = planned;
    if stack.spec.suspend {
        parts.clear();
    }
    parts.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let profile = profile(stack, parts.iter().map(part_ref).collect());
    Planned { parts, profile, refusals }
}

struct Planning {
    source: Source,
    parts: Vec<ProfilePart>,
    refusals: Vec<Refusal>,
}

impl Planning {
    /// Nothing of this layer lasts, so all that can be said of it is what is wrong.
    fn application(&mut self, stack: &ObservabilityStack) {
        if stack.spec.application.mode == LayerMode::Enabled {
            self.refusals.push(Refusal::always_on_profiles(&self.source));
        }
        let layer = stack.spec.layer(Layer::Application);
        let least = budget::MIN_PROFILE_BUDGET;
        if let Some(budget) = layer.memory_budget_bytes.filter(|budget| *budget < least) {
            let small = budget::TooSmall { minimum: least };
            self.refusals.push(Refusal::budget_too_small(&self.source, Layer::Application, budget, small));
        }
        self.scope(Layer::Application, layer);
    }

    /// The flows that the stack itself wants.
    fn network(&mut self, stack: &ObservabilityStack) -> Option<ProfilePart> {
        let layer = stack.spec.layer(Layer::Network);
        let sizes = budget::flow_sizes(layer.memory_budget_bytes);
        let budget = layer.memory_budget_bytes.unwrap_or_default();
        let sizes = self.kept(sizes.map_err(|small| (Layer::Network, budget, small)));
        let namespace_selector = self.scope(Layer::Network, layer)?;
        let sizes = sizes.filter(|_| layer.mode == LayerMode::Enabled)?;
        let pods = PodScope { namespace_selector, ..PodScope::default() };
        let content = FlowsPart { pods, flow_entries: sizes.flow_entries, ring_bytes: sizes.ring_bytes };
        Some(part(&self.source, PartContent::Flows(content)))
    }

    /// Policies, and the processes that the stack itself wants.
    fn security(&mut self, stack: &ObservabilityStack, inputs: &Inputs<'_>) -> Vec<ProfilePart> {
        let layer = stack.spec.layer(Layer::Security);
        let sizes = budget::security_sizes(layer.memory_budget_bytes);
        let budget = layer.memory_budget_bytes.unwrap_or_default();
        let sizes = self.kept(sizes.map_err(|small| (Layer::Security, budget, small)));
        let scope = self.scope(Layer::Security, layer);
        let candidates = candidates(inputs);
        let open = sizes.zip(scope).filter(|_| layer.mode != LayerMode::Disabled);
        let Some((sizes, namespace_selector)) = open else {
            let why =
                if layer.mode == LayerMode::Disabled { Refusal::layer_disabled } else { Refusal::layer_not_accepted };
            self.refusals.extend(candidates.iter().map(|candidate| why(&candidate.source, Layer::Security)));
            return Vec::new();
        };
        let processes = part(
            &self.source,
            PartContent::Processes(ProcessesPart {
                pods: PodScope {
                    include_host: namespace_selector.is_none(),
                    namespace_selector: namespace_selector.clone(),
                    ..PodScope::default()
                },
                ring_bytes: sizes.identity_ring_bytes,
            }),
        );
        let mut room = Room::new(stack, &[part_ref(&processes)]);
        let mut parts = Vec::new();
        for Candidate { source, policy, .. } in candidates {
            match policy::tracepoints(policy, &source, namespace_selector.as_ref(), sizes.policy_ring_bytes) {
                Err(refusals) => self.refusals.extend(refusals),
                Ok(content) => {
                    let part = part(&source, PartContent::Tracepoints(content));
                    match room.take(&part_ref(&part)) {
                        Ok(()) => parts.push(part),
                        Err(full) => self.refusals.push(Refusal::profile_full(&source, full.parts, full.bytes)),
                    }
                }
            }
        }
        if layer.mode == LayerMode::Enabled || !parts.is_empty() {
            parts.push(processes);
        }
        parts
    }

    /// The layer's namespaceSelector, or nothing and a refusal where nothing can be made of it.
    fn scope(&mut self, layer: Layer, view: LayerView<'_>) -> Option<Option<LabelSelector>> {
        if let Some(Err(error)) = view.namespace_selector.map(selector::check) {
            let field = format!("{}.namespaceSelector", layer.field());
            self.refusals.push(Refusal::bad_selector(&self.source, &field, &error));
            return None;
        }
        Some(view.namespace_selector.cloned())
    }

    fn kept<T>(&mut self, sizes: Result<T, (Layer, i64, budget::TooSmall)>) -> Option<T> {
        sizes
            .map_err(|(layer, budget, small)| {
                self.refusals.push(Refusal::budget_too_small(&self.source, layer, budget, small));
            })
            .ok()
    }
}

struct Candidate<'a> {
    created: Option<jiff::Timestamp>,
    source: Source,
    policy: PolicyView<'a>,
}

/// The oldest first, so that a full profile refuses the newest; what has no time yet is the newest.
fn candidates<'a>(inputs: &Inputs<'a>) -> Vec<Candidate<'a>> {
    let cluster = inputs.policies.iter().map(|policy| candidate(*policy, (&policy.spec).into()));
    let namespaced = inputs.namespaced_policies.iter().map(|policy| candidate(*policy, (&policy.spec).into()));
    let mut all: Vec<_> = cluster.chain(namespaced).collect();
    all.sort_by(|a, b| (a.created.is_none(), a.created, &a.source).cmp(&(b.created.is_none(), b.created, &b.source)));
    all
}

fn candidate<'a>(object: &'a impl UserKind, policy: PolicyView<'a>) -> Candidate<'a> {
    let created = object.meta().creation_timestamp.as_ref().map(|time| time.0);
    Candidate { created, source: object.source(), policy }
}

/// What a profile still holds. Once something did not fit, nothing newer does, so that age alone decides.
struct Room {
    parts: usize,
    bytes: usize,
    full: bool,
}

impl Room {
    fn new(stack: &ObservabilityStack, stack_parts: &[PartRef]) -> Self {
        // Room for every part that the stack may want is kept from the start, so that switching on a layer refuses no policy.
        let kept = profile(stack, [stack_parts, stack_parts].concat());
        Self { parts: 2, bytes: json_bytes(&kept.spec), full: false }
    }

    fn take(&mut self, part: &PartRef) -> Result<(), Room> {
        let bytes = json_bytes(part) + 1;
        self.full |= self.parts + 1 > MAX_PARTS || self.bytes + bytes > MAX_PROFILE_BYTES;
        if self.full {
            return Err(Room { ..*self });
        }
        self.parts += 1;
        self.bytes += bytes;
        Ok(())
    }
}

fn json_bytes(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX / 2, |json| json.len())
}

fn part(source: &Source, content: PartContent) -> ProfilePart {
    let digest = part_digest(source, &content);
    let kind = format!("{:?}", source.kind);
    let words: Vec<&str> =
        [Some(kind.as_str()), source.namespace.as_deref(), Some(&source.name)].into_iter().flatten().collect();
    ProfilePart::new(
        &object_name(&words, &digest),
        ProfilePartSpec { source: source.clone(), digest: digest.clone(), content },
    )
}

fn part_ref(part: &ProfilePart) -> PartRef {
    PartRef { name: part.metadata.name.clone().unwrap_or_default(), digest: part.spec.digest.clone() }
}

fn profile(stack: &ObservabilityStack, parts: Vec<PartRef>) -> NodeProfile {
    let name = stack.source().name;
    let suspended = stack.spec.suspend;
    let export = Some(stack.spec.export.plan());
    let digest = profile_digest(&name, DEFAULT_POOL, suspended, &parts, export.as_ref());
    let spec = NodeProfileSpec {
        stack: name.clone(),
        pool: DEFAULT_POOL.into(),
        digest: digest.clone(),
        suspended,
        parts,
        export,
    };
    NodeProfile::new(&object_name(&[&name, DEFAULT_POOL], &digest), spec)
}

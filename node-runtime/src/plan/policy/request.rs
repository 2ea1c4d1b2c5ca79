//! One policy -> what it asks of each attach point: values, selectors with their predicates, actions. Only this kernel's answers
//! are needed for it, not the other policies.

use std::{collections::BTreeMap, sync::Arc};

use trilobite_crds::{
    node::{PodScope, PolicyPart, Source, WorkloadScope},
    policy::{
        Action, ActionKind, Argument, ArgumentType, BinaryFilter, Hook, Kprobe, Selector, Tracepoint,
        TracingPolicySpec, Word, WorkloadFilter, check::check,
    },
    reason::Reason,
};

use super::{
    action::actions,
    argument::{self, ArgumentPlace, ReadArgument, Role},
    attach_point::AttachPoint,
    binaries::BinaryTables,
    call::{self, numeric_lists},
    dimension::{Operand, ValueFacet},
    filter::{self, FilterContext, FilterError},
    hook_plan::{ActionPlan, HookSection, ShownValue},
    item::{Item, Phase, PolicyContext, ReadableValue},
    kernel_view::{Kernel, TracepointFormat},
    note::add_notes,
    predicate::Predicate,
    value::ValuePlan,
};
use crate::problem::Problem;

/// All that a policy asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct PolicyRequest {
    /// Several items of one policy may be about the same attach point.
    pub(super) hooks: BTreeMap<AttachPoint, Vec<EntryRequest>>,
    pub(super) notes: Vec<Problem>,
}

/// What one item of the policy asks of an attach point.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EntryRequest {
    /// E.g. `spec.kprobes[0]`.
    pub(super) field: String,
    pub(super) section: HookSection,
    /// The actions at the entry of a hook whose event is made at the return.
    pub(super) is_entry_of_return: bool,
    pub(super) is_syscall: bool,
    /// A list named the function.
    pub(super) is_list: bool,
    /// The policy says `disable-kprobe-multi`.
    pub(super) is_attached_alone: bool,
    pub(super) message: Option<Arc<str>>,
    pub(super) tags: Arc<[String]>,
    pub(super) values: Vec<ValuePlan>,
    pub(super) args: Vec<ShownValue>,
    pub(super) data: Vec<ShownValue>,
    pub(super) returned: Option<ShownValue>,
    /// See `HookEntry::tracker`.
    pub(super) tracker: Option<u32>,
    /// One for each bit.
    pub(super) selectors: Vec<SelectorRequest>,
}

/// What one bit asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SelectorRequest {
    pub(super) selector: u16,
    pub(super) scope: Arc<PodScope>,
    pub(super) actions: Vec<ActionPlan>,
    /// Values are counted in those of the entry.
    pub(super) predicates: Vec<Predicate>,
}

/// Plans one policy by itself. `binaries` gets the conditions that processes inherit. A part `is_checked` where it was planned
/// before.
pub(super) fn request(
    source: &Source,
    part: &PolicyPart,
    kernel: &dyn Kernel,
    binaries: &mut BinaryTables,
    is_checked: bool,
) -> Result<PolicyRequest, Vec<Problem>> {
    let has_macros = !part.spec.selectors_macros.is_empty();
    let checked = if is_checked && !has_macros { None } else { Some(check_again(part)?) };
    let spec = checked.as_ref().unwrap_or(&part.spec);
    let lists = numeric_lists(&spec.lists, kernel);
    let context = PolicyContext { spec, pods: &part.pods, lists, kernel, tracker: tracker(source, spec) };
    let (mut all, mut problems) = (PolicyRequest::default(), Vec::new());
    for (field, hook) in spec.hooks() {
        if let Err(problem) = add_hook(&mut all, &field, hook, &context, binaries) {
            problems.push(problem);
        }
    }
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

/// The number under which a policy notes processes with sockets, where it does: a hash of its name, FNV-1a.
fn tracker(source: &Source, spec: &TracingPolicySpec) -> Option<u32> {
    let functions = || spec.kprobes.iter().chain(&spec.fentries);
    let is_tracking = |kind: Option<ActionKind>| matches!(kind, Some(ActionKind::TrackSock | ActionKind::UntrackSock));
    let at_return = |function: &Kprobe| is_tracking(function.return_arg_action.as_ref().and_then(Word::known));
    let by_selector =
        |selector: &Selector| selector.match_actions.iter().chain(&selector.match_return_actions).any(tracks_socket);
    let tracks = functions().any(at_return) || spec.hooks().any(|(_, hook)| hook.selectors().iter().any(by_selector));
    let hash = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    tracks.then(|| source.to_string().bytes().fold(0x811c_9dc5, hash).max(1))
}

/// The planner has checked the policy; that of another version may have let pass what this agent does not know.
fn check_again(part: &PolicyPart) -> Result<TracingPolicySpec, Vec<Problem>> {
    let is_namespaced = part.pods.namespace.is_some();
    check(&part.spec, is_namespaced).map_err(|faults| {
        let problems = faults.listed.into_iter().map(|fault| Problem::InvalidPolicy {
            reason: fault.reason,
            message: fault.message,
            field: fault.field,
        });
        problems.collect()
    })
}

fn add_hook(
    all: &mut PolicyRequest,
    field: &str,
    hook: Hook<'_>,
    context: &PolicyContext<'_>,
    binaries: &mut BinaryTables,
) -> Result<(), Problem> {
    let first_note = all.notes.len();
    match hook {
        Hook::Kprobe(function) => add_function(all, field, hook, function, HookSection::Kprobe, context, binaries)?,
        Hook::Fentry(function) => add_function(all, field, hook, function, HookSection::Fentry, context, binaries)?,
        Hook::Tracepoint(tracepoint) => {
            let (point, place) = tracepoint_place(field, tracepoint, context.kernel)?;
            let item = Item { field, hook, section: HookSection::Tracepoint, place, is_list: false };
            add_entries(all, point, &item, context, binaries)?;
        }
    }
    add_notes(&mut all.notes, field, hook, context);
    all.notes[first_note..].sort_by(|one, other| one.field().cmp(other.field()));
    Ok(())
}

fn add_function(
    all: &mut PolicyRequest,
    field: &str,
    hook: Hook<'_>,
    function: &Kprobe,
    section: HookSection,
    context: &PolicyContext<'_>,
    binaries: &mut BinaryTables,
) -> Result<(), Problem> {
    let calls = call::functions(function, field, context.spec, context.kernel)?;
    all.notes.extend(calls.notes);
    for call in calls.functions {
        let name = call.name;
        let place = if call.is_syscall {
            ArgumentPlace::Syscall { name: name.clone() }
        } else {
            ArgumentPlace::Function { name: name.clone(), function: context.kernel.function(&name) }
        };
        let point =
            if function.r#return { AttachPoint::FunctionReturn { name } } else { AttachPoint::FunctionEntry { name } };
        let item = Item { field, hook, section, place, is_list: calls.is_list };
        add_entries(all, point, &item, context, binaries)?;
    }
    Ok(())
}

fn tracepoint_place(
    field: &str,
    tracepoint: &Tracepoint,
    kernel: &dyn Kernel,
) -> Result<(AttachPoint, ArgumentPlace), Problem> {
    let (subsystem, event) = (tracepoint.subsystem.clone(), tracepoint.event.clone());
    let missing =
        || Problem::NoSuchTracepoint { name: format!("{subsystem}/{event}"), field: format!("{field}.event") };
    if tracepoint.raw {
        let types = kernel.raw_tracepoint(&event).ok_or_else(missing)?;
        return Ok((
            AttachPoint::RawTracepoint { event: event.clone() },
            ArgumentPlace::RawTracepoint { event, types },
        ));
    }
    match kernel.tracepoint(&subsystem, &event) {
        TracepointFormat::Fields(fields) => Ok((
            AttachPoint::Tracepoint { subsystem: subsystem.clone(), event: event.clone() },
            ArgumentPlace::Tracepoint { subsystem, event, fields },
        )),
        TracepointFormat::Missing => Err(missing()),
        TracepointFormat::Unreadable(error) => {
            let field = format!("{field}.event");
            let message = format!("{field}: the format of {subsystem}/{event} cannot be read: {error}; use raw: true");
            Err(Problem::InvalidPolicy { reason: Reason::LoadFailed, message, field })
        }
    }
}

/// Adds the item's entry. Of a hook with a return value, signals and sockets of `matchActions` are for the function's entry, which
/// is another attach point; only where their conditions are about the return are they done there.
fn add_entries(
    all: &mut PolicyRequest,
    point: AttachPoint,
    item: &Item<'_>,
    context: &PolicyContext<'_>,
    binaries: &mut BinaryTables,
) -> Result<(), Problem> {
    let at_return = point.has_return();
    let acts_at_entry = |selector: &Selector| {
        selector.match_actions.iter().any(|action| action.signal().is_some() || tracks_socket(action))
    };
    if at_return && item.hook.selectors().iter().any(acts_at_entry) {
        let mut actions = entry(item, context, Phase::EntryOfReturn, binaries)?;
        let predicates = || actions.selectors.iter().flat_map(|selector| &selector.predicates);
        let waits = predicates().any(|predicate| predicate.dimension.at_return);
        let point = match &point {
            AttachPoint::FunctionReturn { name } if !waits => {
                actions.values.iter_mut().filter(|value| value.at_return).for_each(ValuePlan::omit);
                AttachPoint::FunctionEntry { name: name.clone() }
            }
            _ => point.clone(),
        };
        all.hooks.entry(point).or_default().push(actions);
    }
    let own = entry(item, context, if at_return { Phase::Return } else { Phase::Entry }, binaries)?;
    all.hooks.entry(point).or_default().push(own);
    Ok(())
}

fn tracks_socket(action: &Action) -> bool {
    matches!(action.action.known(), Some(ActionKind::TrackSock | ActionKind::UntrackSock))
}

/// The values of an entry, while they are collected.
struct Values<'a> {
    item: &'a Item<'a>,
    context: &'a PolicyContext<'a>,
    all: Vec<ValuePlan>,
}

fn entry(
    item: &Item<'_>,
    context: &PolicyContext<'_>,
    phase: Phase,
    binaries: &mut BinaryTables,
) -> Result<EntryRequest, Problem> {
    let mut values = Values { item, context, all: Vec::new() };
    let (args, shown_args) = values.read_list("args", Role::Argument, item.hook.args())?;
    let (data, shown_data) = values.read_list("data", Role::Data, item.hook.data())?;
    let (mut returned, mut shown_returned) = (None, None);
    if let Some(argument) = item.hook.return_arg() {
        let (value, shown) = values.read(&format!("{}.returnArg", item.field), Role::Return, argument)?;
        (returned, shown_returned) = (value, shown);
    }
    let executed = values.executed_file()?;
    let filters = FilterContext {
        hook: item.hook,
        lists: &context.lists,
        args: &args,
        data: &data,
        returned,
        executed: &executed,
        kernel: context.kernel,
    };
    let mut selectors = Vec::new();
    let whole = Selector::default();
    let written = item.hook.selectors();
    let written = if written.is_empty() { std::slice::from_ref(&whole) } else { written };
    for (number, selector) in written.iter().enumerate() {
        let path = format!("{}.selectors[{number}]", item.field);
        let refused = |error: FilterError| filter_problem(&path, &error);
        let alternatives = filter::predicates(selector, phase == Phase::Return, &filters, binaries).map_err(refused)?;
        let actions = actions(selector, phase, &args, returned, item, context);
        for predicates in alternatives {
            selectors.push(SelectorRequest {
                selector: u16::try_from(number).unwrap_or(u16::MAX),
                scope: scope(context.pods, selector.match_workloads.as_ref()),
                actions: actions.clone(),
                predicates,
            });
        }
    }
    let mut all = values.all;
    mark_filtered(&mut all, &mut selectors);
    let shows = phase != Phase::EntryOfReturn;
    Ok(EntryRequest {
        field: item.field.to_owned(),
        section: item.section,
        is_entry_of_return: phase == Phase::EntryOfReturn,
        is_syscall: matches!(item.place, ArgumentPlace::Syscall { .. }),
        is_list: item.is_list,
        is_attached_alone: context.spec.disables_kprobe_multi(),
        message: Some(item.hook.message()).filter(|message| !message.is_empty()).map(Into::into),
        tags: item.hook.tags().to_vec().into(),
        values: all,
        args: if shows { shown_args } else { Vec::new() },
        data: if shows { shown_data } else { Vec::new() },
        returned: shown_returned.filter(|_| shows),
        tracker: context.tracker,
        selectors,
    })
}

impl Values<'_> {
    fn read_list(
        &mut self,
        list: &str,
        role: Role,
        arguments: &[Argument],
    ) -> Result<(Vec<Option<ReadableValue>>, Vec<ShownValue>), Problem> {
        let (mut readable, mut shown) = (Vec::new(), Vec::new());
        for (number, argument) in arguments.iter().enumerate() {
            let field = format!("{}.{list}[{number}]", self.item.field);
            let (value, output) = self.read(&field, role, argument)?;
            readable.push(value);
            shown.extend(output);
        }
        Ok((readable, shown))
    }

    fn read(
        &mut self,
        field: &str,
        role: Role,
        argument: &Argument,
    ) -> Result<(Option<ReadableValue>, Option<ShownValue>), Problem> {
        let place = &self.item.place;
        if argument.return_copy && role != Role::Return && self.item.hook.return_arg().is_none() {
            let detail = "returnCopy reads at the return of the function; set return: true and returnArg".into();
            return Err(Problem::WrongArgument { detail, field: format!("{field}.returnCopy") });
        }
        let ReadArgument { value, size, r#type } =
            argument::read(argument, role, place, self.context.kernel).map_err(|detail| match place {
                ArgumentPlace::Tracepoint { subsystem, event, .. } => {
                    Problem::NoSuchArgument { name: format!("{subsystem}/{event}"), detail, field: field.to_owned() }
                }
                _ => Problem::WrongArgument { detail, field: field.to_owned() },
            })?;
        let Some(mut value) = value else { return Ok((None, None)) };
        if let Some(size) = size {
            value.size_from = Some(self.add(size));
        }
        let index = self.add(value);
        let shown = ShownValue {
            value: index,
            index: u32::try_from(argument.index).unwrap_or_default(),
            r#type,
            label: Some(argument.label.as_str()).filter(|label| !label.is_empty()).map(Into::into),
        };
        Ok((Some((index, r#type)), Some(shown)))
    }

    /// Index of the value; an equal one is read once.
    fn add(&mut self, value: ValuePlan) -> u8 {
        let found = self.all.iter_mut().position(|known| known.is_same_reading(&value));
        let index = found.unwrap_or(self.all.len());
        match found {
            Some(index) => self.all[index].join(&value),
            None => self.all.push(value),
        }
        u8::try_from(index).unwrap_or(u8::MAX)
    }

    /// On security_bprm_check, where a filter asks for binaries: path and name of the file that is executed.
    fn executed_file(&mut self) -> Result<Vec<u8>, Problem> {
        let asks = |selector: &Selector| selector.match_binaries.iter().any(BinaryFilter::is_positive);
        if !self.item.hook.is_before_exec() || !self.item.hook.selectors().iter().any(asks) {
            return Ok(Vec::new());
        }
        let path = Argument { r#type: ArgumentType::LinuxBinprm.into(), ..Argument::default() };
        let name = Argument { r#type: ArgumentType::String.into(), resolve: "filename".into(), ..Argument::default() };
        let mut indexes = Vec::new();
        for argument in [path, name] {
            let read = argument::read(&argument, Role::Data, &self.item.place, self.context.kernel);
            let read =
                read.map_err(|detail| Problem::WrongArgument { detail, field: format!("{}.call", self.item.field) })?;
            if let Some(value) = read.value {
                indexes.push(self.add(ValuePlan { is_emitted: false, ..value }));
            }
        }
        Ok(indexes)
    }
}

/// Marks the values that a condition looks at, and the conditions on values that are read at the return.
fn mark_filtered(values: &mut [ValuePlan], selectors: &mut [SelectorRequest]) {
    for predicate in selectors.iter_mut().flat_map(|selector| &mut selector.predicates) {
        let Operand::Value { index, facet } = predicate.dimension.operand else { continue };
        let old = if let ValueFacet::CapabilitiesGained { old } = facet { Some(old) } else { None };
        for index in [Some(index), old].into_iter().flatten() {
            if let Some(value) = values.get_mut(usize::from(index)) {
                value.is_filtered = true;
                predicate.dimension.at_return |= value.at_return;
            }
        }
    }
}

/// `path` is that of the selector. Words that the language does not have are refused before.
fn filter_problem(path: &str, error: &FilterError) -> Problem {
    Problem::Unsupported { field: format!("{path}.{}", error.field), detail: error.detail.clone() }
}

fn scope(pods: &Arc<PodScope>, workloads: Option<&WorkloadFilter>) -> Arc<PodScope> {
    let Some(WorkloadFilter { pod_selector, container_selector, host_selector, .. }) = workloads else {
        return pods.clone();
    };
    let workload = WorkloadScope::new(pod_selector.clone(), container_selector.clone(), host_selector.is_some());
    Arc::new(PodScope { workload: Some(workload), ..PodScope::clone(pods) })
}

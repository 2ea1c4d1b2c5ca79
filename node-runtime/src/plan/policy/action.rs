//! The actions of a selector.

use trilobite_crds::policy::{Action, ActionKind, Hook, PolicyMode, Selector, Word, return_actions};

use super::{
    hook_plan::ActionPlan,
    item::{Item, Phase, PolicyContext, ReadableValue},
};

/// What is done when the selector wins.
pub(super) fn actions(
    selector: &Selector,
    phase: Phase,
    args: &[Option<ReadableValue>],
    returned: Option<ReadableValue>,
    item: &Item<'_>,
    context: &PolicyContext<'_>,
) -> Vec<ActionPlan> {
    let written = if phase == Phase::Return { return_actions(selector) } else { selector.match_actions.clone() };
    let is_monitored = context.spec.mode() == PolicyMode::Monitor;
    let socket = |action: &Action| {
        let position = item.hook.args().iter().position(|argument| argument.index == action.arg_sock);
        let of_entry = position.and_then(|position| args.get(position).copied().flatten());
        let found = if phase == Phase::Return { returned } else { of_entry };
        found.map(|(value, _)| value)
    };
    let plan = |action: &Action| match action.action.known()? {
        ActionKind::Post if phase == Phase::EntryOfReturn => None,
        ActionKind::Post => Some(ActionPlan::Post {
            rate_limit_ns: u64::from(action.rate_limit_millis().unwrap_or_default()) * 1_000_000,
            scope: action.rate_limit_scope.as_ref().and_then(Word::known).unwrap_or_default(),
            kernel_stack: action.kernel_stack_trace,
            user_stack: action.user_stack_trace,
        }),
        ActionKind::NoPost => Some(ActionPlan::NoPost),
        ActionKind::Sigkill | ActionKind::Signal => {
            let number = action.signal().and_then(|number| u8::try_from(number).ok())?;
            Some(ActionPlan::Signal { number, is_monitored })
        }
        ActionKind::TrackSock => socket(action).map(|value| ActionPlan::TrackSock { value }),
        ActionKind::UntrackSock => socket(action).map(|value| ActionPlan::UntrackSock { value }),
        _ => None,
    };
    let mut planned: Vec<ActionPlan> = written.iter().filter_map(plan).collect();
    if phase == Phase::Return {
        planned.extend(return_arg_action(item, returned));
    }
    if phase == Phase::EntryOfReturn {
        planned.retain(|action| *action != ActionPlan::NoPost);
        planned.push(ActionPlan::NoPost);
    } else if !planned.iter().any(|action| matches!(action, ActionPlan::Post { .. } | ActionPlan::NoPost)) {
        // A signal alone is reported too.
        planned.push(ActionPlan::post());
    }
    planned
}

fn return_arg_action(item: &Item<'_>, returned: Option<ReadableValue>) -> Option<ActionPlan> {
    let (Hook::Kprobe(function) | Hook::Fentry(function)) = item.hook else { return None };
    let (value, _) = returned?;
    match function.return_arg_action.as_ref()?.known()? {
        ActionKind::TrackSock => Some(ActionPlan::TrackSock { value }),
        ActionKind::UntrackSock => Some(ActionPlan::UntrackSock { value }),
        _ => None,
    }
}

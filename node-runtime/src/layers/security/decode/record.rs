//! One record of a hook: its winners become events.

use std::sync::Arc;

use trilobite_crds::policy::ArgumentType;
use trilobite_node_ebpf::{HookRecord, HookWinner, Record, RecordKind, action_flag, hook_record_flag};

use super::{
    buffer::{array, at},
    stack::Symbols,
    value::{Fields, decode_value},
};
use crate::{
    identity::ExecKey,
    layers::security::event::{Action, Arg, HookEvent, HookInfo, HookPoint, NotedProcess, SelectorInfo},
    plan::policy::hook_plan::ShownValue,
};

/// The most winners that are read of one record: more than the kernel side writes.
const WINNERS: usize = 1024;
const SIGKILL: u32 = 9;

/// What a record says, before it is joined with the policies.
#[derive(Clone, Copy, Debug)]
pub(in crate::layers::security) struct DecodedRecord<'a> {
    pub(in crate::layers::security) header: Record,
    pub(in crate::layers::security) hook_id: u32,
    hook: HookRecord,
    bytes: &'a [u8],
}

/// None for a record of another kind or layout, and for one that is cut.
pub(in crate::layers::security) fn decode_record(bytes: &[u8]) -> Option<DecodedRecord<'_>> {
    let header = Record::read(bytes).filter(|header| header.kind() == Some(RecordKind::Hook))?;
    let bytes = bytes.get(..header.size as usize)?;
    let hook: HookRecord = at(bytes, 0)?;
    Some(DecodedRecord { header, hook_id: hook.hook_id, hook, bytes })
}

impl DecodedRecord<'_> {
    /// An event for each winner that is posted, with what its policy shows; and the number of winners whose policy the
    /// registry does not have any more.
    pub(in crate::layers::security) fn events(
        &self,
        info: &HookInfo,
        symbols: &mut Symbols,
    ) -> (Vec<(Arc<SelectorInfo>, HookEvent)>, u64) {
        let winners: Vec<HookWinner> =
            array(self.bytes, self.hook.winners_offset, usize::from(self.hook.winner_count).min(WINNERS));
        let fields = Fields::new(self.bytes, usize::from(self.hook.value_count));
        let mut events = Vec::with_capacity(winners.len());
        let mut unknown = 0;
        for winner in winners {
            if winner.flags & action_flag::POST == 0 {
                continue;
            }
            match info.selectors.get(&(winner.policy, winner.bit)) {
                Some(selector) => {
                    events.push((selector.clone(), self.event(&winner, selector, info, &fields, symbols)))
                }
                None => unknown += 1,
            }
        }
        (events, unknown)
    }

    fn event(
        &self,
        winner: &HookWinner,
        selector: &Arc<SelectorInfo>,
        info: &HookInfo,
        fields: &Fields<'_>,
        symbols: &mut Symbols,
    ) -> HookEvent {
        let (hook, flags) = (&self.hook, winner.flags);
        let shown = |list: &[ShownValue]| list.iter().filter_map(|value| shown_value(value, fields)).collect();
        let stack = |flag: u32, offset: u32, bytes: u32| -> Vec<u64> {
            if flags & flag == 0 { Vec::new() } else { array(self.bytes, offset, bytes as usize / 8) }
        };
        let kernel = stack(action_flag::KERNEL_STACK, hook.kernel_stack_offset, hook.kernel_stack_bytes);
        let user = stack(action_flag::USER_STACK, hook.user_stack_offset, hook.user_stack_bytes);
        let done = action(winner);
        let has_returned = hook.flags & hook_record_flag::HAS_RETURNED != 0;
        HookEvent {
            tid: noted_process(winner).map_or(self.header.tid, |_| winner.tid),
            point: self.point(info),
            selector: selector.clone(),
            action: if has_returned { selector.entry_action } else { done },
            return_action: has_returned.then_some(done),
            noted: noted_process(winner),
            args: shown(&selector.args),
            data: shown(&selector.data),
            returned: selector.returned.as_ref().and_then(|value| shown_value(value, fields)),
            kernel_stack: symbols.kernel_frames(&kernel),
            user_stack: symbols.user_frames(self.header.tid, &user),
            suppressed: winner.limited.into(),
            is_undecided: flags & action_flag::UNKNOWN != 0,
        }
    }

    /// The function that was called, where a list of functions shares the hook.
    fn point(&self, info: &HookInfo) -> Arc<HookPoint> {
        let called = self.hook.function.checked_sub(1).and_then(|index| info.functions.get(index as usize));
        called.unwrap_or(&info.point).clone()
    }
}

/// None for `nop`, whose value is not read.
fn shown_value(shown: &ShownValue, fields: &Fields<'_>) -> Option<Arg> {
    if shown.r#type == ArgumentType::Nop {
        return None;
    }
    Some(Arg { value: decode_value(fields, shown.value, shown.r#type), label: shown.label.clone() })
}

/// The process that the policy has noted with the socket of the call.
fn noted_process(winner: &HookWinner) -> Option<NotedProcess> {
    let key = ExecKey { ktime: winner.exec_ktime, pid: winner.exec_pid };
    (winner.tid != 0).then_some(NotedProcess { key, cgroup: winner.cgroup })
}

fn action(winner: &HookWinner) -> Action {
    let is_sent = winner.flags & action_flag::SIGNAL != 0 && winner.flags & action_flag::SIGNAL_FAILED == 0;
    match winner.signal {
        _ if !is_sent && winner.flags & action_flag::TRACK_SOCKET != 0 => Action::TrackSock,
        _ if !is_sent && winner.flags & action_flag::UNTRACK_SOCKET != 0 => Action::UntrackSock,
        _ if !is_sent => Action::Post,
        SIGKILL => Action::Sigkill,
        _ => Action::Signal,
    }
}

//! Actions and their parameters.

use super::{
    fault::Faults,
    nearest::advice,
    wording::{known_word, shown},
};
use crate::policy::{Action, ActionKind, ArgumentType, Hook, RateLimitScope, Vocabulary};

/// Most actions of a selector, as in Tetragon.
const MAX_ACTIONS: usize = 3;

/// When actions are done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ActionPlace {
    Entry,
    Return,
}

pub(super) fn check_actions(path: &str, actions: &[Action], place: ActionPlace, hook: Hook<'_>, faults: &mut Faults) {
    if actions.len() > MAX_ACTIONS {
        let count = actions.len();
        faults.invalid(path, || format!("must have at most {MAX_ACTIONS} items, has {count}"));
    }
    let has = |kind| actions.iter().any(|action| action.action.known() == Some(kind));
    if has(ActionKind::Post) && has(ActionKind::NoPost) {
        faults.invalid(path, || "Post and NoPost contradict each other; remove one".into());
    }
    for (index, action) in actions.iter().enumerate() {
        check_action(&format!("{path}[{index}]"), action, place, hook, faults);
    }
}

fn check_action(path: &str, action: &Action, place: ActionPlace, hook: Hook<'_>, faults: &mut Faults) {
    let field = format!("{path}.action");
    let Some(kind) = known_action(&field, action, faults) else { return };
    match kind {
        ActionKind::Override => faults.unsupported_value(&field, "Override", "use Sigkill, or remove it"),
        ActionKind::NotifyEnforcer
        | ActionKind::CleanupEnforcerNotification
        | ActionKind::GetUrl
        | ActionKind::DnsLookup
        | ActionKind::Set => faults.unsupported_value(&field, kind.as_str(), "remove it"),
        _ => check_parameters(path, kind, action, faults),
    }
    if kind == ActionKind::Signal && !(1..=64).contains(&action.arg_sig) {
        let signal = action.arg_sig;
        faults.invalid(&format!("{path}.argSig"), || format!("{signal} must be the number of a signal, from 1 to 64"));
    }
    if matches!(kind, ActionKind::TrackSock | ActionKind::UntrackSock) {
        check_socket(path, action, place, hook, faults);
    }
}

fn known_action(field: &str, action: &Action, faults: &mut Faults) -> Option<ActionKind> {
    let kind = action.action.known();
    if kind.is_none() {
        let word = action.action.as_str();
        let names = ActionKind::ALL.iter().filter(|kind| !kind.is_obsolete()).map(|kind| kind.as_str());
        let otherwise = "use Post, NoPost, Sigkill, Signal, TrackSock or UntrackSock";
        faults.invalid(field, || format!("{} is not known; {}", shown(word), advice(word, names, otherwise)));
    }
    kind
}

/// Parameters of `Post` have no meaning for others, and the other way round. A parameter of an action that does nothing is
/// as harmless as the action, and a zero is how Tetragon's API server writes an unset one.
fn check_parameters(path: &str, kind: ActionKind, action: &Action, faults: &mut Faults) {
    let is_post = kind == ActionKind::Post;
    let of_post = [
        ("rateLimit", !action.rate_limit.is_empty()),
        ("rateLimitScope", action.rate_limit_scope.is_some()),
        ("kernelStackTrace", action.kernel_stack_trace),
        ("userStackTrace", action.user_stack_trace),
        ("imaHash", action.ima_hash),
    ];
    for (name, _) in of_post.into_iter().filter(|(_, is_set)| *is_set && !is_post) {
        faults.invalid(&format!("{path}.{name}"), || format!("is for Post, this is {kind}; remove it"));
    }
    if action.ima_hash && is_post {
        faults.unsupported(&format!("{path}.imaHash"));
    }
    if is_post {
        check_rate_limit(path, action, faults);
    }
    let later = [
        ("argRegs", !action.arg_regs.is_empty()),
        ("argNewSymbol", !action.arg_new_symbol.is_empty()),
        ("argNewAddr", action.arg_new_addr != 0),
        ("argNewOffset", action.arg_new_offset != 0),
        ("argUrl", !action.arg_url.is_empty()),
        ("argFqdn", !action.arg_fqdn.is_empty()),
    ];
    for (name, _) in later.into_iter().filter(|(_, is_set)| *is_set) {
        faults.unsupported(&format!("{path}.{name}"));
    }
}

fn check_rate_limit(path: &str, action: &Action, faults: &mut Faults) {
    let field = format!("{path}.rateLimit");
    if !action.rate_limit.is_empty() && action.rate_limit_millis().is_none() {
        let text = &action.rate_limit;
        faults.invalid(&field, || format!("{} must be a number of seconds, e.g. 5s, 1m or 2h", shown(text)));
    }
    let Some(scope) = &action.rate_limit_scope else { return };
    let field = format!("{path}.rateLimitScope");
    if known_word(&field, scope, RateLimitScope::ALL, faults).is_some() && action.rate_limit.is_empty() {
        faults.invalid(&field, || "needs rateLimit; set it, or remove this".into());
    }
}

/// The socket is the argument with the index `argSock`, or the returned one.
fn check_socket(path: &str, action: &Action, place: ActionPlace, hook: Hook<'_>, faults: &mut Faults) {
    let field = format!("{path}.argSock");
    let index = action.arg_sock;
    let argument = match place {
        ActionPlace::Entry => hook.args().iter().find(|argument| argument.index == index),
        ActionPlace::Return => hook.return_arg(),
    };
    let is_socket = argument.is_some_and(|argument| {
        matches!(argument.r#type.known(), Some(ArgumentType::Sock | ArgumentType::Socket | ArgumentType::Skb))
    });
    if !is_socket {
        faults.invalid(&field, || format!("argument {index} must be in args, with the type sock, socket or skb"));
    }
}

//! A plain evaluator: a policy's hook and one call -> the selectors that match, and their actions. It is slow and obvious on
//! purpose: what the kernel programs decide is compared with it.

mod call;
mod process;
mod values;

pub use call::{
    Ancestor, Call, CallSocket, CallValue, CallingProcess, CapabilitySets, CredentialIds, Match, NamespaceIds, Outcome,
    Workload,
};

use super::{Action, ActionKind, Hook, List, Selector, return_actions};

/// What a checked policy does about a call of one of its hooks. `lists` are the policy's, with the values that the node
/// found for the generated ones.
pub fn evaluate(hook: Hook<'_>, lists: &[List], call: &Call) -> Outcome {
    let matches_entry = |selector: &Selector| {
        process::matches(selector, hook, call) && values::entry_matches(selector, hook, lists, call)
    };
    let matches_return = |selector: &Selector| values::return_matches(selector, lists, call);
    let winner = |matches: &dyn Fn(&Selector) -> bool, actions: fn(&Selector) -> Vec<Action>| {
        if hook.selectors().is_empty() {
            return Some(Match { selector: 0, actions: vec![Action::new(ActionKind::Post)] });
        }
        let selector = hook.selectors().iter().position(matches)?;
        let actions = actions(&hook.selectors()[selector]);
        let post = actions.is_empty().then(|| Action::new(ActionKind::Post));
        Some(Match { selector, actions: post.into_iter().chain(actions).collect() })
    };
    let entry = winner(&matches_entry, |selector| selector.match_actions.clone());
    let returns = hook.return_arg().is_some() && call.returned.is_some();
    let at_return = returns
        .then(|| winner(&|selector| matches_entry(selector) && matches_return(selector), return_actions))
        .flatten();
    Outcome { entry, at_return }
}

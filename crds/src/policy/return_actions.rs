//! The actions of a selector when a function returns.

use super::{
    action::{Action, ActionKind},
    selector::Selector,
};

/// What a selector does when the function returns: `matchReturnActions`. Where they say neither `Post` nor `NoPost`, those of
/// `matchActions` count, with their rate limit and stacks, since the entry has no event of its own.
pub fn return_actions(selector: &Selector) -> Vec<Action> {
    let is_about_events = |action: &&Action| action.action.known().is_some_and(ActionKind::is_about_events);
    let mut actions = selector.match_return_actions.clone();
    if !actions.iter().any(|action| is_about_events(&action)) {
        actions.extend(selector.match_actions.iter().filter(is_about_events).cloned());
    }
    actions
}

//! Filters by a CEL expression over the message of an event, e.g. `process_exec.process.pod.namespace == "payments"`. The
//! variables are the members of GetEventsResponse; an expression is asked only about the events that it names. As in
//! protobuf an unset field has its default, so that `has()` could not tell: it is refused. Times are texts; `timestamp()`
//! makes times of them.

use std::{collections::HashMap, sync::Arc};

use kube_cel::{
    KubeCelExt,
    cel::{
        Context, ExecutionError, Program, Value,
        common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr},
        objects::{Key, Map},
    },
};
use trilobite_api::{
    json::tree::{self, Tree},
    tetragon::{GetEventsResponse, get_events_response::Event},
};

/// Members of GetEventsResponse that are events.
const EVENTS: [&str; 11] = [
    "process_exec",
    "process_exit",
    "process_kprobe",
    "process_tracepoint",
    "process_loader",
    "process_uprobe",
    "process_throttle",
    "process_lsm",
    "process_usdt",
    "test",
    "rate_limit_info",
];

/// The longest expression in bytes.
const LENGTH: usize = 8192;

pub(super) struct Expression {
    program: Program,
    /// The events that it names.
    events: Vec<&'static str>,
}

impl Expression {
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        if text.len() > LENGTH {
            return Err(format!("an expression has at most {LENGTH} bytes"));
        }
        let program = Program::compile(text).map_err(|error| format!("not a CEL expression: {error}"))?;
        if tests_presence(program.expression()) {
            return Err("has() is not supported: an unset field has its default, compare with that".to_owned());
        }
        let references = program.references();
        let events: Vec<_> = EVENTS.into_iter().filter(|event| references.has_variable(event)).collect();
        if events.is_empty() {
            return Err(format!("it names no event; the events are {}", EVENTS.join(", ")));
        }
        drop(references);
        known_fields(program.expression())?;
        let expression = Self { program, events };
        match expression.evaluate(&GetEventsResponse::default()) {
            Ok(Value::Bool(_)) => Ok(expression),
            Ok(other) => Err(format!("it is a {}, not a bool", other.type_of())),
            Err(ExecutionError::UndeclaredReference(name)) => Err(format!("there is no {name}")),
            // E.g. a key that no event without labels has.
            Err(_) => Ok(expression),
        }
    }

    /// An expression that fails, e.g. by an index beyond a list's end, does not hold.
    pub(super) fn holds(&self, message: &GetEventsResponse) -> bool {
        let is_named = message.event.as_ref().is_some_and(|event| self.events.contains(&event_name(event)));
        is_named && matches!(self.evaluate(message), Ok(Value::Bool(true)))
    }

    fn evaluate(&self, message: &GetEventsResponse) -> Result<Value, ExecutionError> {
        let mut context = Context::default().with_all();
        for event in &self.events {
            let value = tree::member(message, event).map_or(Value::Null, value);
            context.add_variable_from_value(*event, value);
        }
        self.program.execute(&context)
    }
}

/// Name of the member of GetEventsResponse.
fn event_name(event: &Event) -> &'static str {
    match event {
        Event::ProcessExec(_) => "process_exec",
        Event::ProcessExit(_) => "process_exit",
        Event::ProcessKprobe(_) => "process_kprobe",
        Event::ProcessTracepoint(_) => "process_tracepoint",
        Event::ProcessLoader(_) => "process_loader",
        Event::ProcessUprobe(_) => "process_uprobe",
        Event::ProcessThrottle(_) => "process_throttle",
        Event::ProcessLsm(_) => "process_lsm",
        Event::ProcessUsdt(_) => "process_usdt",
        Event::Test(_) => "test",
        Event::RateLimitInfo(_) => "rate_limit_info",
    }
}

fn value(tree: Tree) -> Value {
    match tree {
        Tree::Null => Value::Null,
        Tree::Bool(value) => Value::Bool(value),
        Tree::Int(value) => Value::Int(value),
        Tree::Uint(value) => Value::UInt(value),
        Tree::Double(value) => Value::Float(value),
        Tree::Text(text) => Value::String(Arc::new(text)),
        Tree::Bytes(bytes) => Value::Bytes(Arc::new(bytes)),
        Tree::List(list) => Value::List(Arc::new(list.into_iter().map(value).collect())),
        Tree::Map(entries) => map(entries.into_iter().filter_map(|(name, member)| Some((key(name)?, member)))),
        Tree::Message(members) => map(members.into_iter().map(|(name, member)| (Key::from(name), member))),
    }
}

fn map(entries: impl Iterator<Item = (Key, Tree)>) -> Value {
    let entries: HashMap<Key, Value> = entries.map(|(key, member)| (key, value(member))).collect();
    Value::Map(Map { map: Arc::new(entries) })
}

fn key(tree: Tree) -> Option<Key> {
    Some(match tree {
        Tree::Text(text) => Key::from(text),
        Tree::Bool(value) => Key::from(value),
        Tree::Int(value) => Key::from(value),
        Tree::Uint(value) => Key::from(value),
        _ => return None,
    })
}

/// Refuses a field that an event's messages do not have. Returns what an expression is where that is known without an event.
fn known_fields(of: &IdedExpr) -> Result<Option<Tree>, String> {
    match &of.expr {
        Expr::Ident(name) if EVENTS.contains(&name.as_str()) => Ok(tree::member(&GetEventsResponse::default(), name)),
        Expr::Select(select) => match known_fields(&select.operand)? {
            Some(Tree::Message(members)) => {
                let member = members.into_iter().find(|(name, _)| *name == select.field).map(|(_, member)| member);
                member.map(Some).ok_or_else(|| format!("there is no field {}", select.field))
            }
            _ => Ok(None),
        },
        _ => {
            for part in parts(of) {
                known_fields(part)?;
            }
            Ok(None)
        }
    }
}

/// Whether `has()` occurs.
fn tests_presence(of: &IdedExpr) -> bool {
    matches!(&of.expr, Expr::Select(select) if select.test) || parts(of).into_iter().any(tests_presence)
}

/// The expressions that one is made of.
fn parts(of: &IdedExpr) -> Vec<&IdedExpr> {
    match &of.expr {
        Expr::Select(select) => vec![&select.operand],
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(loops) => {
            vec![&loops.iter_range, &loops.accu_init, &loops.loop_cond, &loops.loop_step, &loops.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(parts_of_entry).collect(),
        Expr::Struct(of) => of.entries.iter().flat_map(parts_of_entry).collect(),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
    }
}

fn parts_of_entry(entry: &IdedEntryExpr) -> Vec<&IdedExpr> {
    match &entry.expr {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::tetragon::samples;

    fn holds(text: &str, event: &crate::layers::security::SecurityEvent) -> bool {
        Expression::compile(text).unwrap().holds(&samples::encoder().message(event))
    }

    #[test]
    fn expression_sees_the_fields_of_the_event() {
        let exec = samples::exec();
        for text in [
            r#"process_exec.process.pod.namespace == "payments""#,
            r#"process_exec.process.binary.startsWith("/usr/") && process_exec.parent.binary.endsWith("sh")"#,
            r#"process_exec.process.pod.pod_labels["tier"] in ["back", "front"]"#,
            "process_exec.process.pid > 4000u && process_exec.process.uid == 0u",
            "process_exec.process.cap.effective.exists(c, c == 7)",
            r#"timestamp(process_exec.process.start_time) > timestamp("2023-01-01T00:00:00Z")"#,
        ] {
            assert!(holds(text, &exec), "{text}");
        }
        for text in [
            r#"process_exec.process.pod.namespace != "payments""#,
            r#"process_exit.process.binary != """#,
            "process_exec.process.cap.effective[99] == 1",
        ] {
            assert!(!holds(text, &exec), "{text}");
        }
    }

    #[test]
    fn unset_messages_have_defaults() {
        let host = samples::exec_on_the_host();
        assert!(holds(r#"process_exec.process.pod.namespace != "payments""#, &host));
        assert!(holds(r#"process_exec.parent.binary == """#, &host));
    }

    #[test]
    fn expression_about_several_events_is_asked_about_each() {
        let text = r#"process_exec.process.binary == "/usr/bin/curl" || process_exit.signal == "SIGKILL""#;
        assert!(holds(text, &samples::exec()) && holds(text, &samples::exit(0, 9)));
        assert!(!holds(text, &samples::exit(0, 0)) && !holds(text, &samples::tracepoint()));
    }

    #[test]
    fn addresses_of_arguments_are_compared_with_networks() {
        let text = r#"process_kprobe.args.exists(a, a.sock_arg.daddr != "" && cidr("185.0.0.0/8").containsIP(a.sock_arg.daddr))"#;
        assert!(holds(text, &samples::connect()));
        assert!(!holds(&text.replace("185.", "186."), &samples::connect()));
    }

    #[test]
    fn faulty_expressions_are_refused() {
        let refused = |text: &str| Expression::compile(text).err().unwrap();
        assert!(refused("process_exec.process.binary ==").starts_with("not a CEL expression: "));
        assert!(refused("true").starts_with("it names no event; "));
        assert_eq!(refused("process_exec.process.binary"), "it is a string, not a bool");
        assert_eq!(refused("process_exec.process.binry == \"x\""), "there is no field binry");
        let hidden = "process_exec.process.pid == 7u || [1].exists(x, process_exec.process.pod.nam == \"\")";
        assert_eq!(refused(hidden), "there is no field nam");
        assert!(refused("process_exec.process.binary == \"\" && nothing").contains("nothing"));
        let has = refused("[1].exists(x, has(process_exec.process))");
        assert!(has.starts_with("has() is not supported"), "{has}");
    }
}

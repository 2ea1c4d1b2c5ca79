//! From a script to its plan.

use crate::{
    error::{Errors, Position, Refused, ScriptError},
    evaluate::Evaluator,
    lexer::tokenize,
    limits::SCRIPT_BYTES,
    parser::parse,
    plan::Plan,
    request::Request,
};

/// The plan of a script; or everything that is wrong with it, by line and column.
pub fn compile(request: &Request<'_>) -> Result<Plan, Vec<ScriptError>> {
    let mut errors = Errors::default();
    if request.script.len() > SCRIPT_BYTES {
        let message = format!("the script has {} bytes: at most {SCRIPT_BYTES} are read", request.script.len());
        errors.refuse(Position::START, message);
        return errors.into_result(Plan::default());
    }
    let lexed = tokenize(request.script, &mut errors);
    let settings = lexed.settings;
    let statements = parse(lexed.tokens, &mut errors);
    if !errors.is_empty() {
        return errors.into_result(Plan::default());
    }
    let mut evaluator = Evaluator::new(request.now, &mut errors);
    for (position, text) in settings {
        evaluator.apply_setting(position, text);
    }
    evaluator.execute_script(&statements);
    for call in request.functions {
        // What is refused was reported; other calls may have errors of their own.
        let _: Result<(), Refused> = evaluator.call_by_client(call);
    }
    let plan = evaluator.finish();
    errors.into_result(plan)
}

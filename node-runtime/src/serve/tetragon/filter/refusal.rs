//! What a client reads of a filter that is refused: the path of the field, and why.

use tonic::Status;

pub(super) type Refusal = Box<Status>;

pub(super) fn refusal(path: &str, reason: &str) -> Refusal {
    Box::new(Status::invalid_argument(format!("{path}: {reason}")))
}

pub(super) fn parse_each<T>(
    list: &[String],
    path: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Refusal> {
    let parsed = list
        .iter()
        .enumerate()
        .map(|(at, text)| parse(text).map_err(|reason| refusal(&format!("{path}[{at}]"), &reason)));
    parsed.collect()
}

//! Prints requests, by whichever way they came: a table whose columns grow while it is followed, or JSON lines.

use std::io::Write;

use trilobite_api::{
    json,
    lines::request::{self, RequestCells},
    requests::{LostRequests, Request},
};
use trilobite_untrusted_text::{escape, prefix};

use crate::{
    args::{RequestsArgs, RequestsFormat},
    commands::{failure::Failure, print::print_line},
    output::{paint::Paint, stderr::stderr_line},
};

/// Bytes of a target in the narrow table.
const TARGET_MAX: usize = 80;
/// Bytes of any other cell, and of a target in the wide table.
const CELL_MAX: usize = 200;
const HEADER: [&str; COLUMNS] = [
    "TIME",
    "POD",
    "ROLE",
    "PROTOCOL",
    "PEER",
    "OPERATION",
    "TARGET",
    "STATUS",
    "LATENCY",
    "BYTES",
    "CONNECTION",
    "NODE",
    "MIDSTREAM",
    "PROFILE",
];
const COLUMNS: usize = 14;
/// Columns without `-o wide`.
const NARROW: usize = 9;
const STATUS: usize = 7;

pub(super) struct RequestPrinter {
    format: RequestsFormat,
    paint: Paint,
    /// Pods are named with their namespaces.
    with_namespace: bool,
    widths: Vec<usize>,
    printed: u64,
}

impl RequestPrinter {
    pub(super) fn new(arguments: &RequestsArgs, with_namespace: bool) -> Self {
        let (format, paint) = (arguments.output, Paint(arguments.color.is_on()));
        Self { format, paint, with_namespace, widths: Vec::new(), printed: 0 }
    }

    pub(super) fn has_printed(&self) -> bool {
        self.printed > 0
    }

    /// Prints rows; the columns of a table are as wide as their widest cell so far.
    pub(super) fn print(&mut self, requests: &[Request], out: &mut dyn Write) -> Result<(), Failure> {
        self.printed += requests.len() as u64;
        if self.format == RequestsFormat::Json {
            return requests.iter().try_for_each(|request| print_line(out, &json::to_string(request)));
        }
        let rows: Vec<Vec<String>> = requests.iter().map(|request| self.cells(request)).collect();
        let is_first = self.widths.is_empty();
        let columns = if self.format == RequestsFormat::Wide { COLUMNS } else { NARROW };
        if is_first && !rows.is_empty() {
            self.widths = HEADER[..columns].iter().map(|name| name.len()).collect();
        }
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        if is_first && !rows.is_empty() {
            print_line(out, &self.line(HEADER[..columns].iter().copied(), false))?;
        }
        for (row, request) in rows.iter().zip(requests) {
            print_line(out, &self.line(row.iter().map(String::as_str), request.is_error))?;
        }
        Ok(())
    }

    /// Rows that are missing.
    pub(super) fn report_loss(lost: &LostRequests) {
        stderr_line!("warning: {}", escape(&request::loss(lost)));
    }

    fn cells(&self, request: &Request) -> Vec<String> {
        let RequestCells {
            time,
            pod,
            role,
            protocol,
            peer,
            operation,
            target,
            status,
            latency,
            bytes,
            connection,
            node,
            mid_stream,
            profile,
        } = request::cells(request);
        let pod = match self.with_namespace && !request.namespace.is_empty() {
            true => format!("{}/{pod}", request.namespace),
            false => pod,
        };
        let is_wide = self.format == RequestsFormat::Wide;
        let target = cell(&target, if is_wide { CELL_MAX } else { TARGET_MAX });
        let narrow = [time, pod, role, protocol, peer, operation].map(|text| cell(&text, CELL_MAX));
        let rest = [status, latency, bytes, connection, node, mid_stream, profile].map(|text| cell(&text, CELL_MAX));
        let all = narrow.into_iter().chain([target]).chain(rest);
        all.take(if is_wide { COLUMNS } else { NARROW }).collect()
    }

    fn line<'a>(&self, cells: impl Iterator<Item = &'a str>, is_error: bool) -> String {
        let mut line = String::new();
        for (column, (cell, width)) in cells.zip(&self.widths).enumerate() {
            let blanks = width.saturating_sub(cell.chars().count());
            let painted = if column == STATUS && is_error { self.paint.red(cell) } else { cell.to_owned() };
            line.push_str(&painted);
            line.push_str(&" ".repeat(blanks + 2));
        }
        line.trim_end().to_owned()
    }
}

/// Escaped, and cut with an ellipsis.
fn cell(text: &str, bytes: usize) -> String {
    match prefix(text, bytes) {
        whole if whole.len() == text.len() => escape(whole),
        cut => format!("{}…", escape(cut)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use trilobite_api::requests::Endpoint;

    use super::*;
    use crate::args::{Arguments, Command};

    fn printer(line: &str) -> RequestPrinter {
        let line = format!("trilobite requests --color never {line}");
        let Command::Requests(requests) = Arguments::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("another command")
        };
        RequestPrinter::new(&requests, requests.all_namespaces)
    }

    fn request(pod: &str, target: &str) -> Request {
        Request {
            time: Some(prost_types::Timestamp { seconds: 7, nanos: 0 }),
            namespace: "shop".into(),
            pod: pod.into(),
            protocol: "pgsql".into(),
            role: "client".into(),
            remote: Some(Endpoint { namespace: "shop".into(), pod: "db-0".into(), port: 5432, ..Endpoint::default() }),
            latency: Some(prost_types::Duration { seconds: 0, nanos: 312_000_000 }),
            status: "SELECT 1".into(),
            operation: "Query".into(),
            target: target.into(),
            ..Request::default()
        }
    }

    fn printed(printer: &mut RequestPrinter, requests: &[Request]) -> String {
        let mut out = Vec::new();
        printer.print(requests, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_grow_while_rows_come() {
        let mut printer = printer("-f");
        assert_eq!(
            printed(&mut printer, &[request("cart-7", "select $1")]),
            "TIME                      POD     ROLE    PROTOCOL  PEER            OPERATION  TARGET     STATUS    LATENCY\n\
             1970-01-01T00:00:07.000Z  cart-7  client  pgsql     shop/db-0:5432  Query      select $1  SELECT 1  312ms\n"
        );
        assert_eq!(
            printed(&mut printer, &[request("cart-7-long", "select $1, $2")]),
            "1970-01-01T00:00:07.000Z  cart-7-long  client  pgsql     shop/db-0:5432  Query      select $1, $2  SELECT 1  312ms\n"
        );
        assert!(printer.has_printed());
    }

    #[test]
    fn all_namespaces_are_named_and_wide_has_all_columns() {
        let text = printed(&mut printer("-A -o wide"), &[request("cart-7", "select")]);
        assert!(text.contains("shop/cart-7 "), "{text}");
        let header: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(header, HEADER);
    }

    #[test]
    fn text_of_a_request_cannot_move_the_cursor_nor_fill_the_screen() {
        let hostile = format!("select '\u{1b}[2J\n{}", "é".repeat(500));
        let text = printed(&mut printer(""), &[request("cart-7", &hostile)]);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("select '\\x1b[2J\\n") && text.contains('…'), "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 250), "{text}");
    }

    #[test]
    fn nothing_is_printed_for_no_rows() {
        assert_eq!(printed(&mut printer(""), &[]), "");
        assert_eq!(printed(&mut printer("-o json"), &[request("cart-7", "x")]).lines().count(), 1);
    }
}

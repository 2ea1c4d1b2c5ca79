//! Prints requests, by whichever way they came: a table whose columns grow while it is followed, or JSON lines.

use std::io::Write;

use trilobite_api::{
    json,
    lines::request::{self, COLUMNS},
    requests::{LostRequests, Request},
};
use trilobite_untrusted_text::{escape, prefix};

use crate::{
    args::{RequestsArgs, RequestsFormat},
    commands::{failure::Failure, print::print_line},
    output::{
        paint::Paint,
        stderr::stderr_line,
        table::{padded_line, widen},
    },
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
/// Columns without `-o wide`.
const NARROW: usize = 9;
const TARGET: usize = 6;
const STATUS: usize = 7;

pub(super) struct RequestPrinter {
    format: RequestsFormat,
    paint: Paint,
    /// Pods are named with their namespaces.
    with_namespace: bool,
    widths: Vec<usize>,
}

impl RequestPrinter {
    pub(super) fn new(arguments: &RequestsArgs, with_namespace: bool) -> Self {
        let (format, paint) = (arguments.output, Paint(arguments.color.is_on()));
        Self { format, paint, with_namespace, widths: Vec::new() }
    }

    /// Prints rows; the columns of a table are as wide as their widest cell so far.
    pub(super) fn print(&mut self, requests: &[Request], out: &mut dyn Write) -> Result<(), Failure> {
        if self.format == RequestsFormat::Json {
            return requests.iter().try_for_each(|request| print_line(out, &json::to_string(request)));
        }
        if requests.is_empty() {
            return Ok(());
        }
        let header = &HEADER[..self.columns()];
        let is_first = self.widths.is_empty();
        if is_first {
            self.widths = header.iter().map(|name| name.len()).collect();
        }
        let rows: Vec<Vec<String>> = requests.iter().map(|request| self.cells(request)).collect();
        rows.iter().for_each(|row| widen(&mut self.widths, row));
        if is_first {
            print_line(out, &padded_line(header, &self.widths, |_, name| name.to_owned()))?;
        }
        for (row, request) in rows.iter().zip(requests) {
            let paint = |column, cell: &str| match column == STATUS && request.is_error {
                true => self.paint.red(cell),
                false => cell.to_owned(),
            };
            print_line(out, &padded_line(row, &self.widths, paint))?;
        }
        Ok(())
    }

    /// Rows that are missing.
    pub(super) fn report_loss(lost: &LostRequests) {
        stderr_line!("warning: {}", escape(&request::loss(lost)));
    }

    fn cells(&self, request: &Request) -> Vec<String> {
        let mut cells = request::cells(request);
        if self.with_namespace && !request.namespace.is_empty() {
            cells.pod = format!("{}/{}", request.namespace, cells.pod);
        }
        let limit = |column| match column == TARGET && self.format != RequestsFormat::Wide {
            true => TARGET_MAX,
            false => CELL_MAX,
        };
        let all = cells.in_order().into_iter().enumerate().map(|(column, text)| cell(&text, limit(column)));
        all.take(self.columns()).collect()
    }

    fn columns(&self) -> usize {
        if self.format == RequestsFormat::Wide { COLUMNS } else { NARROW }
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

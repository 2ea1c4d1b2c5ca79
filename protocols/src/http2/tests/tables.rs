//! HPACK by itself: examples of the RFC, tables of which the beginning is not known, and blocks that are bombs.

use super::super::hpack::{Broken, Field};
use super::super::huffman;
use super::encoder::integer;
use super::*;

fn table(mid_stream: bool) -> Table {
    Table::new(mid_stream, Redaction::new(&Settings::default()))
}

fn fields(table: &mut Table, block: &[u8]) -> Result<Vec<String>, Broken> {
    let text = |text: Option<std::sync::Arc<str>>| text.map_or("?".to_owned(), |text| text.to_string());
    let mut fields = Vec::new();
    table.decode(block, None, |Field { name, value }| fields.push(format!("{}: {}", text(name), text(value))))?;
    Ok(fields)
}

/// RFC 7541, C.4: three requests with Huffman codes, which need each other.
#[test]
fn requests_of_the_rfc_are_decoded() {
    let first = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
    let second = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
    let third = b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf";
    let mut known = table(false);
    let common = [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"];
    assert_eq!(fields(&mut known, first).unwrap(), common);
    assert_eq!(fields(&mut known, second).unwrap(), [&common[..], &["cache-control: no-cache"]].concat());
    let last = [
        ":method: GET",
        ":scheme: https",
        ":path: /index.html",
        ":authority: www.example.com",
        "custom-key: <redacted>",
    ];
    assert_eq!(fields(&mut known, third).unwrap(), last);
    let mut joined = table(true);
    assert_eq!(fields(&mut joined, second).unwrap()[3..], ["?: ?", "cache-control: no-cache"]);
    assert_eq!(fields(&mut joined, third).unwrap()[3..], ["?: ?", "custom-key: <redacted>"]);
    assert_eq!(
        fields(&mut joined, b"\xbe\xbf\xc0").unwrap(),
        ["custom-key: <redacted>", "cache-control: no-cache", "?: ?"]
    );
}

#[test]
fn value_of_a_name_that_was_not_seen_is_not_shown() {
    let block = [integer(0x40, 6, 70), Encoder::default().text("hunter2"), vec![0xbe]].concat();
    assert_eq!(fields(&mut table(true), &block).unwrap(), ["?: <redacted>", "?: <redacted>"]);
}

#[test]
fn entries_leave_as_the_size_says() {
    let literal = |name: &str| [vec![0x40], Encoder::default().text(name), Encoder::default().text("v")].concat();
    let mut known = table(false);
    fields(&mut known, &[literal("a"), literal("b")].concat()).unwrap();
    assert_eq!(fields(&mut known, b"\xbe\xbf").unwrap(), ["b: v", "a: v"]);
    // Room for one; then for none; and the newest is known again.
    fields(&mut known, &integer(0x20, 5, 40)).unwrap();
    assert_eq!(fields(&mut known, b"\xbe\xbf").unwrap(), ["b: v", "?: ?"]);
    fields(&mut known, &[integer(0x20, 5, 0), integer(0x20, 5, 4096), literal("c")].concat()).unwrap();
    assert_eq!(fields(&mut known, b"\xbe\xbf").unwrap(), ["c: v", "?: ?"]);
    known.forget();
    assert_eq!(fields(&mut known, &[vec![0xbe], literal("d"), vec![0xbe]].concat()).unwrap(), ["?: ?", "d: v", "d: v"]);
}

#[test]
fn entry_above_the_size_empties_the_table() {
    let large = [vec![0x40], Encoder::default().text("large"), Encoder::default().text(&"v".repeat(5000))].concat();
    for mid_stream in [false, true] {
        let mut table = table(mid_stream);
        fields(&mut table, b"\x40\x01a\x01v").unwrap();
        fields(&mut table, &large).unwrap();
        assert_eq!(fields(&mut table, b"\xbe").unwrap(), ["?: ?"]);
    }
}

#[test]
fn broken_blocks_are_refused() {
    let huge = [vec![0x40, 0x7f], vec![0xff; 9]].concat();
    for block in
        [&b"\x80"[..], b"\x40", b"\x40\x05ab", b"\x41\x81", b"\x41\x82\xff\xff", &huge, b"\x41\xff\xff\xff\xff\xff\x0f"]
    {
        assert_eq!(fields(&mut table(false), block), Err(Broken), "{}", block.escape_ascii());
    }
}

/// One entry of 4 KB, and as many references to it as a block has room for.
#[test]
fn bombs_make_rows_of_bounded_size() {
    let mut block = integer(0x40, 6, 4);
    block.extend(Encoder::default().text(&"v".repeat(4000)));
    block.resize(100 << 10, 0xbe);
    let head = [&[0x82, 0x86][..], &block].concat();
    let mut scripted = Scripted::new(Name::Http2, Role::Client, false, &Settings::default());
    scripted.see(&client(greeting()), usize::MAX);
    for stream in 0..100 {
        scripted.see(&client(frame(1, 5, 2 * stream + 1, &head)), usize::MAX);
        assert!(scripted.connection.memory() < 2 << 20, "{}", scripted.connection.memory());
    }
    scripted.see(&server(Encoder::default().headers(199, &[(":status", "200")], true)), usize::MAX);
    let rows = scripted.take_exchanges();
    assert!(format!("{rows:?}").len() < 20_000);
}

#[test]
fn long_values_are_cut_and_still_counted_in_the_table() {
    let mut table = table(false);
    fields(&mut table, &integer(0x20, 5, 65_536)).unwrap();
    let long = "v".repeat(20_000);
    for huffman in [false, true] {
        let encoder = Encoder::new(huffman);
        let block = [&[0x40][..], &encoder.text("long"), &encoder.text(&long)].concat();
        let shown = fields(&mut table, &block).unwrap().pop().unwrap();
        assert!(shown.len() < 9000 && shown.ends_with("... [TRUNCATED]"), "{}", shown.len());
    }
    assert!(fields(&mut table, b"\xbf").unwrap()[0].starts_with("long: v"));
    assert_eq!(huffman::encoded(b"v").len(), 1);
}

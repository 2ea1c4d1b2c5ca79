use super::*;

fn decode(bytes: &[u8], piece: usize) -> Option<Vec<Value>> {
    let mut decoder = Decoder::new(false, 0);
    let mut values = Vec::new();
    for piece in bytes.chunks(piece) {
        let mut rest = piece;
        while !rest.is_empty() {
            match decoder.decode(rest, Times::default()) {
                Decoded::Part(taken) => rest = &rest[taken..],
                Decoded::Value(taken, value) => {
                    rest = &rest[taken..];
                    values.push(value);
                }
                Decoded::Broken => return None,
            }
        }
    }
    Some(values)
}

/// Type, count, leaves and length of each value.
fn summary(bytes: &[u8]) -> Vec<String> {
    let values = decode(bytes, usize::MAX).unwrap();
    for piece in 1..bytes.len() {
        assert_eq!(decode(bytes, piece).as_ref(), Some(&values), "pieces of {piece}");
    }
    assert_eq!(values.iter().map(|value| value.length).sum::<u64>(), bytes.len() as u64);
    values
        .iter()
        .map(|value| {
            let leaves: Vec<String> = value
                .leaves
                .iter()
                .map(|leaf| format!("{}{}", leaf.kind as char, String::from_utf8_lossy(&leaf.text)))
                .collect();
            format!("{} {:?} {}", value.kind as char, value.count, leaves.join(" "))
        })
        .collect()
}

#[test]
fn values_of_resp2_are_decoded() {
    assert_eq!(
        summary(b"+OK\r\n-ERR no\r\n:-5\r\n$5\r\nhe\r\nl\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n*2\r\n$1\r\na\r\n*2\r\n:1\r\n+b\r\n"),
        ["+ None +OK", "- None -ERR no", ": None :-5", "$ None $he\r\nl", "$ None $", "$ None $", "* None *", "* Some(0) ", "* Some(2) $a :1 +b"]
    );
}

#[test]
fn values_of_resp3_are_decoded() {
    assert_eq!(
        summary(b"_\r\n#t\r\n,1.5\r\n(123\r\n!5\r\nERR x\r\n=7\r\ntxt:abc\r\n%1\r\n+a\r\n:1\r\n~2\r\n:1\r\n:2\r\n>2\r\n+a\r\n+b\r\n"),
        ["_ None _", "# None #t", ", None ,1.5", "( None (123", "! None !ERR x", "= None =txt:abc", "% Some(1) +a :1", "~ Some(2) :1 :2", "> Some(2) +a +b"]
    );
}

#[test]
fn attributes_and_streams_are_a_part_of_their_value() {
    assert_eq!(
        summary(b"|1\r\n+ttl\r\n:9\r\n+OK\r\n*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n$?\r\n;3\r\nabc\r\n;2\r\nde\r\n;0\r\n*?\r\n:1\r\n:2\r\n.\r\n"),
        ["+ None +ttl :9 +OK", "* Some(2) +a +b :1 :2", "$ None $abcde", "* None :1 :2"]
    );
}

#[test]
fn what_is_no_value_is_refused() {
    for bytes in
        ["hello\r\n", "$x\r\n", "$3\r\nabcd\r\n", ":1x\r\n", "$99999999999\r\n", ".\r\n", ";1\r\n", "+a\n", "*-2\r\n"]
    {
        assert_eq!(decode(bytes.as_bytes(), usize::MAX), None, "{bytes:?}");
    }
    assert_eq!(decode("*1\r\n".repeat(100).as_bytes(), usize::MAX), None);
}

#[test]
fn large_values_are_not_kept() {
    let mut decoder = Decoder::new(false, 0);
    let mut most = 0;
    let mut feed = |bytes: &[u8]| {
        let mut rest = bytes;
        while !rest.is_empty() {
            match decoder.decode(rest, Times::default()) {
                Decoded::Part(taken) | Decoded::Value(taken, _) => rest = &rest[taken..],
                Decoded::Broken => panic!("{bytes:?}"),
            }
        }
        most = most.max(decoder.memory());
    };
    feed(b"*100002\r\n$1000000\r\n");
    (0..1000).for_each(|_| feed(&[b'x'; 1000]));
    feed(b"\r\n");
    (0..100_000).for_each(|_| feed(b"$3\r\nabc\r\n"));
    feed(b":1\r\n");
    assert!(most < 16 << 10, "{most}");
}

#[test]
fn gap_in_a_string_stays_in_step() {
    let mut decoder = Decoder::new(false, 0);
    assert!(matches!(decoder.decode(b"$10\r\n", Times::default()), Decoded::Part(5)));
    assert!(matches!(decoder.decode(b"ab", Times::default()), Decoded::Part(2)));
    assert_eq!(decoder.gap(5, Times::default()), (None, true));
    match decoder.decode(b"xyz\r\n", Times::default()) {
        Decoded::Value(5, value) => assert_eq!((&value.leaves[0].text[..], value.length), (&b"ab"[..], 17)),
        _ => panic!(),
    }
    assert!(matches!(decoder.decode(b"$3\r\n", Times::default()), Decoded::Part(4)));
    let (value, in_step) = decoder.gap(5, Times::default());
    assert!(value.is_some() && in_step);
    assert_eq!(decoder.gap(1, Times::default()), (None, false));
}

//! Rows in messages: as many as fit, and none that is too long.

use crate::{
    channel::MESSAGE_MAX,
    protocol::{CHUNK_BYTES, Message},
    requests::RequestRow,
};

/// Bytes of a message of rows beside the rows.
const ROWS_OVERHEAD: usize = 64;
/// The end of a text that was cut, as in Pixie's tables.
pub const TRUNCATED: &str = "... [TRUNCATED]";

/// Packs rows into as few messages as they fit in, in their order. A row that is too long for a message has its longest texts
/// cut.
pub fn pack_rows(id: u32, rows: Vec<RequestRow>) -> Vec<Message> {
    let (mut messages, mut chunk, mut used) = (Vec::new(), Vec::new(), ROWS_OVERHEAD);
    for mut row in rows {
        let bytes = cut_to_fit(&mut row, CHUNK_BYTES - ROWS_OVERHEAD);
        if used + bytes > CHUNK_BYTES && !chunk.is_empty() {
            messages.push(Message::RowsChunk { id, rows: std::mem::take(&mut chunk) });
            used = ROWS_OVERHEAD;
        }
        used += bytes + 1;
        chunk.push(row);
    }
    if !chunk.is_empty() {
        messages.push(Message::RowsChunk { id, rows: chunk });
    }
    messages
}

/// Encoded bytes of the row, whose longest text is halved until it fits.
fn cut_to_fit(row: &mut RequestRow, limit: usize) -> usize {
    loop {
        let bytes = serde_json::to_vec(row).map_or(MESSAGE_MAX, |json| json.len());
        if bytes <= limit {
            return bytes;
        }
        let texts = row.columns.iter_mut().map(|(_, value)| value);
        let texts = texts.chain([&mut row.status, &mut row.operation, &mut row.target]);
        let Some(longest) = texts.max_by_key(|text| text.len()).filter(|text| text.len() > 2 * TRUNCATED.len()) else {
            return bytes;
        };
        let half = trilobite_untrusted_text::prefix(longest, longest.len() / 2 - TRUNCATED.len());
        *longest = format!("{half}{TRUNCATED}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::requests::tests::row;

    fn unpack(messages: &[Message]) -> Vec<RequestRow> {
        let chunks = messages.iter().map(|message| Message::decode(&message.encode().unwrap()).unwrap());
        let rows = chunks.flat_map(|message| match message {
            Message::RowsChunk { id: 3, rows } => rows,
            other => panic!("{other:?}"),
        });
        rows.collect()
    }

    proptest! {
        #[test]
        fn packed_rows_fit_and_come_out_in_order(lengths in prop::collection::vec(0usize..20_000, 0..40)) {
            // Control characters take six bytes in JSON.
            let texts = lengths.iter().map(|length| "a\u{1}é".chars().cycle().take(*length).collect::<String>());
            let rows: Vec<RequestRow> = texts.enumerate().map(|(at, text)| row(at as u64, &text)).collect();
            let unpacked = unpack(&pack_rows(3, rows.clone()));
            prop_assert_eq!(unpacked.len(), rows.len());
            for (packed, row) in unpacked.iter().zip(&rows) {
                let kept = packed.target.strip_suffix(TRUNCATED).unwrap_or(&packed.target);
                prop_assert!(row.target.starts_with(kept) && packed.sequence == row.sequence);
            }
        }
    }

    #[test]
    fn rows_that_fit_share_a_message_and_stay_whole() {
        let rows: Vec<RequestRow> = (1..=200).map(|sequence| row(sequence, "/cart")).collect();
        let messages = pack_rows(3, rows.clone());
        assert!(messages.len() < 3, "{}", messages.len());
        assert_eq!(unpack(&messages), rows);
    }

    #[test]
    fn row_above_a_message_loses_its_longest_texts_only() {
        let mut long = row(1, "/cart");
        long.columns.push(("req_body".into(), "\u{1}".repeat(100_000)));
        let unpacked = unpack(&pack_rows(3, vec![long]));
        assert_eq!(unpacked[0].target, "/cart");
        assert!(unpacked[0].columns[1].1.ends_with(TRUNCATED) && unpacked[0].columns[1].1.len() > 3_000);
    }
}

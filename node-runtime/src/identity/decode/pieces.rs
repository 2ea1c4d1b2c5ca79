//! Pieces of long arguments, which come before the record of their exec.

use std::collections::VecDeque;

use trilobite_node_ebpf::{ArgumentsRecord, Record};
use zerocopy::FromBytes;

use super::header::key;
use crate::identity::ExecKey;

/// Processes whose pieces wait. The record of an exec follows its pieces at once: older ones have lost theirs.
const WAITING_MAX: usize = 64;

/// What has come of the arguments of some processes.
#[derive(Debug, Default)]
pub struct ArgumentPieces(VecDeque<Pieces>);

#[derive(Debug, Default)]
pub(super) struct Pieces {
    key: ExecKey,
    /// Of the first byte, in the arguments.
    pub(super) offset: usize,
    pub(super) bytes: Vec<u8>,
}

impl ArgumentPieces {
    /// Adds a record of the ring. None if it is not whole.
    pub(super) fn record(&mut self, header: &Record, bytes: &[u8]) -> Option<()> {
        let (record, _) = ArgumentsRecord::ref_from_prefix(bytes).ok()?;
        let data = record.data.get(..record.bytes as usize)?;
        let (key, offset) = (key(header), record.offset as usize);
        match self.0.iter_mut().find(|pieces| pieces.key == key) {
            Some(pieces) if pieces.offset + pieces.bytes.len() == offset => pieces.bytes.extend_from_slice(data),
            // What is between them was lost.
            Some(_) => {}
            None => {
                if self.0.len() == WAITING_MAX {
                    self.0.pop_front();
                }
                self.0.push_back(Pieces { key, offset, bytes: data.to_vec() });
            }
        }
        Some(())
    }

    /// Removes what has come of the arguments of one process.
    pub(super) fn remove(&mut self, key: ExecKey) -> Pieces {
        let at = self.0.iter().position(|pieces| pieces.key == key);
        at.and_then(|at| self.0.remove(at)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use trilobite_node_ebpf::{ARGS_PIECE_MAX, ExecRecord, RECORD_LAYOUT, RecordKind, process_flag};
    use zerocopy::IntoBytes;

    use super::*;
    use crate::identity::decode::{Image, ProcessRecord, process};

    fn header(kind: RecordKind, pid: u32, size: usize) -> Record {
        let (layout, kind, size) = (RECORD_LAYOUT, kind as u16, size as u32);
        Record { layout, kind, size, exec_ktime: 1000, exec_pid: pid, ..Record::default() }
    }

    fn piece(pid: u32, offset: usize, text: &[u8]) -> Vec<u8> {
        let mut record = ArgumentsRecord {
            header: header(RecordKind::Arguments, pid, size_of::<ArgumentsRecord>()),
            offset: offset as u32,
            bytes: text.len() as u32,
            ..ArgumentsRecord::default()
        };
        record.data[..text.len()].copy_from_slice(text);
        record.as_bytes().to_vec()
    }

    fn exec(pid: u32, head: &[u8], total: usize) -> Vec<u8> {
        let record = ExecRecord {
            header: header(RecordKind::Exec, pid, size_of::<ExecRecord>() + head.len()),
            flags: process_flag::EXECVE,
            args_total: total as u64,
            args_bytes: head.len() as u16,
            ..ExecRecord::default()
        };
        [record.as_bytes(), head].concat()
    }

    fn decoded(pieces: &mut ArgumentPieces, records: &[Vec<u8>]) -> Vec<Image> {
        let exec = |record: &Vec<u8>| match process(record, pieces).unwrap() {
            ProcessRecord::Exec(image) => Some(*image),
            ProcessRecord::Arguments => None,
            other => panic!("{other:?}"),
        };
        records.iter().filter_map(exec).collect()
    }

    fn seen(image: &Image) -> (&str, &str) {
        (&image.process.arguments, &image.process.flags)
    }

    #[test]
    fn pieces_of_two_processes_are_joined_to_their_own() {
        let mut pieces = ArgumentPieces::default();
        // Cut inside a character and inside an argument.
        let records = [
            piece(1, 5, b"\xa9 b\0"),
            piece(2, 4, b"llo\0"),
            piece(1, 9, b"c\0"),
            exec(2, b"x\0he", 8),
            exec(1, b"x\0a \xc3", 11),
        ];
        let images = decoded(&mut pieces, &records);
        assert_eq!(seen(&images[0]), ("hello", "execve"));
        assert_eq!(seen(&images[1]), ("\"a é b\" c", "execve"));
        assert!(pieces.0.is_empty());
    }

    #[test]
    fn arguments_with_a_missing_piece_are_cut_there_and_marked() {
        let cut = |records: &[Vec<u8>]| {
            let images = decoded(&mut ArgumentPieces::default(), records);
            let [image] = &images[..] else { panic!("{images:?}") };
            let (arguments, flags) = seen(image);
            (arguments.to_owned(), flags.to_owned())
        };
        let marked = |text: &str| (text.to_owned(), "execve truncArgs".to_owned());
        assert_eq!(cut(&[exec(1, b"x\0he", 8)]), marked("he"));
        assert_eq!(cut(&[piece(1, 4, b"l"), piece(1, 7, b"\0"), exec(1, b"x\0he", 8)]), marked("hel"));
        assert_eq!(cut(&[piece(1, 5, b"lo\0"), exec(1, b"x\0he", 8)]), marked("he"));
        assert_eq!(cut(&[piece(1, 4, b"ll"), exec(1, b"x\0he", 80_000)]), marked("hell"));
    }

    #[test]
    fn pieces_without_their_exec_are_bounded() {
        let mut pieces = ArgumentPieces::default();
        let records: Vec<Vec<u8>> =
            (0..WAITING_MAX as u32 + 9).map(|pid| piece(pid, 4, &[b'x'; ARGS_PIECE_MAX as usize])).collect();
        assert_eq!(decoded(&mut pieces, &records), []);
        assert_eq!(pieces.0.len(), WAITING_MAX);
        assert_eq!(pieces.remove(ExecKey { ktime: 1000, pid: 8 }).bytes.len(), 0, "the oldest left");
    }

    #[test]
    fn piece_that_is_not_whole_is_refused() {
        let mut wrong = piece(1, 4, b"llo\0");
        wrong[size_of::<Record>() + 4..][..4].copy_from_slice(&(ARGS_PIECE_MAX + 1).to_ne_bytes());
        assert_eq!(process(&wrong, &mut ArgumentPieces::default()), None);
        let short = &piece(1, 4, b"llo\0")[..200];
        assert_eq!(process(short, &mut ArgumentPieces::default()), None);
    }
}

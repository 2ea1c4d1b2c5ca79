//! Counted stacks to folded text, the heaviest first: `cart-7/app;python3;worker-1;main;burn_primes 42`. What a frame is can be read
//! from its text: see `trilobite_flame_graph::frame_text`.

use std::{collections::HashMap, fmt::Write};

use trilobite_flame_graph::frame_text::{REST, ROOT_FRAMES, TRUNCATED};
use trilobite_node_ebpf::{STACK_FRAMES_MAX, STACK_FRAMES_SHORT};

use super::{
    frame_names::{FrameNames, KnownNames, NamePlaces},
    stacks::{Frame, Stacks},
};
use crate::entry_functions::outermost_entry;

/// Folded stacks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Folded {
    /// One line for each stack.
    pub(super) text: String,
    /// Samples that were counted as truncated although their stacks reach an entry function.
    pub(super) complete: u64,
    /// Samples without the caller of their innermost function.
    pub(super) caller_missing: u64,
}

/// Folds stacks into at most `limit` bytes of text; the stacks that do not fit are summed in one line. `name_places` names places
/// in one file, in order.
pub(super) fn fold(stacks: &Stacks, name_places: &mut NamePlaces<'_>, known: &KnownNames, limit: usize) -> Folded {
    let innermost = stacks.counts().filter_map(|(row, _)| innermost_code(stacks.frames(), row));
    let names = FrameNames::find(stacks.frames(), innermost, name_places, known);
    let mut rows: Vec<(&[u32], u64)> = stacks.counts().collect();
    rows.sort_unstable_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(right.0)));
    let mut lines: HashMap<String, u64> = HashMap::new();
    let (mut bytes, mut rest, mut complete, mut caller_missing) = (0, 0, 0, 0);
    for (row, count) in rows {
        let line = fold_row(stacks.frames(), row, &names);
        complete += if line.complete { count } else { 0 };
        let missing = innermost_code(stacks.frames(), row).is_some_and(|number| names.caller_missing(number));
        caller_missing += if missing { count } else { 0 };
        let line = line.frames.join(";");
        if let Some(before) = lines.get_mut(&line) {
            *before += count;
        } else if bytes + line.len() > limit {
            rest += count;
        } else {
            bytes += line.len() + 24;
            lines.insert(line, count);
        }
    }
    let mut lines: Vec<(String, u64)> = lines.into_iter().collect();
    lines.sort_unstable_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
    if rest > 0 {
        lines.push((REST.to_owned(), rest));
    }
    let mut text = String::with_capacity(bytes);
    for (line, count) in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line} {count}");
    }
    Folded { text, complete, caller_missing }
}

struct FoldedRow<'a> {
    frames: Vec<&'a str>,
    /// The stack counts as truncated as long as its frames have no names, and is not.
    complete: bool,
}

/// The names of a stack's frames, without those beyond its entry function.
fn fold_row<'a>(frames: &[Frame], row: &[u32], names: &'a FrameNames) -> FoldedRow<'a> {
    let mut line: Vec<&str> = row.iter().map(|number| names.text(*number)).collect();
    let user = user_frames(frames, row);
    let outermost = row.get(ROOT_FRAMES).and_then(|number| frames.get(*number as usize));
    // Beyond the frames that were read of a deep stack there are callers, whatever these frames are called.
    let entry = match outermost {
        Some(Frame::Truncated) | None => None,
        Some(_) => outermost_entry(line[ROOT_FRAMES..ROOT_FRAMES + user].iter().copied()),
    };
    let looks_truncated = looks_truncated(frames, row);
    match (entry, outermost) {
        // An entry function has no caller.
        (Some(entry), _) => drop(line.drain(ROOT_FRAMES..ROOT_FRAMES + entry)),
        (None, Some(Frame::Unknown | Frame::Truncated) | None) => {}
        (None, Some(_)) if looks_truncated => line.insert(ROOT_FRAMES, TRUNCATED),
        (None, Some(_)) => {}
    }
    FoldedRow { frames: line, complete: looks_truncated && entry.is_some() }
}

/// Number of the program's frames in a stack.
fn user_frames(frames: &[Frame], row: &[u32]) -> usize {
    let is_kernel = |number: &&u32| matches!(frames.get(**number as usize), Some(Frame::Kernel(_)));
    let kernel = row.iter().rev().take_while(is_kernel).count();
    row.len().saturating_sub(ROOT_FRAMES + kernel)
}

/// The program's innermost frame, if it is code of a file: its number.
fn innermost_code(frames: &[Frame], row: &[u32]) -> Option<u32> {
    let number = *row.get((ROOT_FRAMES + user_frames(frames, row)).checked_sub(1)?)?;
    matches!(frames.get(number as usize), Some(Frame::File { .. })).then_some(number)
}

/// The stack counts as truncated as long as its frames have no names: it is short, or the walk has left all known code.
fn looks_truncated(frames: &[Frame], row: &[u32]) -> bool {
    let user = user_frames(frames, row);
    let kernel = row.len().saturating_sub(ROOT_FRAMES + user);
    let left_code = row.get(ROOT_FRAMES).and_then(|number| frames.get(*number as usize)) == Some(&Frame::Unknown);
    user > 0 && kernel < STACK_FRAMES_MAX as usize && (user <= STACK_FRAMES_SHORT as usize || left_code)
}

/// The kernel's addresses among the frames.
pub(super) fn kernel_addresses(frames: &[Frame]) -> Vec<u64> {
    frames.iter().filter_map(|frame| if let Frame::Kernel(address) = frame { Some(*address) } else { None }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbolize::{CodePlace, NamedPlace};

    const COMM: Frame = Frame::Comm(*b"burner\0\0\0\0\0\0\0\0\0\0");
    const MAIN: Frame = Frame::Comm(*b"main\0\0\0\0\0\0\0\0\0\0\0\0");
    const POD: Frame = Frame::Cgroup(7);

    fn code(offset: u64) -> Frame {
        Frame::File { file: 1, offset }
    }

    fn known() -> KnownNames {
        KnownNames { kernel: [(9, "do_work".to_owned())].into(), cgroups: [(7, "cart-7/app".to_owned())].into() }
    }

    fn stacks(of_code: &[&[Frame]]) -> Stacks {
        let mut stacks = Stacks::new(1 << 20);
        for frames in of_code {
            stacks.add(&[[POD, COMM, COMM].as_slice(), frames].concat());
        }
        stacks
    }

    fn app(_: u32, places: &[CodePlace]) -> Vec<NamedPlace> {
        places.iter().map(|_| NamedPlace { frame: "[app]".into(), caller_missing: false }).collect()
    }

    /// Names by offset; the function at offset 3 has no frame.
    fn named(_: u32, places: &[CodePlace]) -> Vec<NamedPlace> {
        let names = ["runtime.goexit.abi0", "main.main", "main.worker", "main.step", "main", "register_tm_clones"];
        let name = |place: &CodePlace| NamedPlace {
            frame: names[place.offset as usize].to_owned(),
            caller_missing: place.innermost && place.offset == 3,
        };
        places.iter().map(name).collect()
    }

    fn some_stacks() -> Stacks {
        let deep = [Frame::Truncated, code(4), Frame::Kernel(9)];
        // Another offset in the same file with the same name.
        let same = [Frame::Truncated, code(8), Frame::Kernel(9)];
        stacks(&[&[Frame::Unknown], &deep, &deep, &deep, &same])
    }

    #[test]
    fn stacks_with_equal_names_are_one_line_and_the_heaviest_first() {
        let text = fold(&some_stacks(), &mut app, &known(), 1 << 20).text;
        let expected =
            "cart-7/app;burner;burner;[truncated];[app];do_work_[k] 4\ncart-7/app;burner;burner;[unknown] 1\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn stacks_above_the_limit_are_summed_in_one_line() {
        let text = fold(&some_stacks(), &mut app, &KnownNames::default(), 70).text;
        assert_eq!(text, "[unknown pod];burner;burner;[truncated];[app];[kernel]_[k] 4\n[the rest] 1\n");
    }

    #[test]
    fn thread_called_main_does_not_complete_its_stacks() {
        let mut stacks = Stacks::new(1 << 20);
        stacks.add(&[POD, MAIN, MAIN, code(2)]);
        let folded = fold(&stacks, &mut named, &known(), 1 << 20);
        assert_eq!(folded.complete, 0);
        assert_eq!(folded.text, "cart-7/app;main;main;[truncated];main.worker 1\n");
    }

    #[test]
    fn short_stack_is_complete_if_it_reaches_an_entry_function() {
        let stacks = stacks(&[
            &[code(0), code(2)],
            // The unknown frame lies behind an entry function.
            &[Frame::Unknown, code(0), code(1), code(2)],
            &[code(1), code(2)],
            &[Frame::Unknown, code(1), code(2)],
            // Deep enough not to count as truncated.
            &[code(0), code(1), code(1), code(2)],
        ]);
        let Folded { text, complete, .. } = fold(&stacks, &mut named, &known(), 1 << 20);
        assert_eq!(complete, 2);
        for line in [
            ";burner;runtime.goexit.abi0;main.worker 1\n",
            ";burner;runtime.goexit.abi0;main.main;main.worker 1\n",
            ";burner;[truncated];main.main;main.worker 1\n",
            ";burner;[unknown];main.main;main.worker 1\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn what_lies_beyond_the_entry_function_is_dropped() {
        let stacks = stacks(&[&[code(5), code(4), code(1), code(2)], &[code(5), code(4), Frame::Kernel(9)]]);
        let Folded { text, complete, .. } = fold(&stacks, &mut named, &known(), 1 << 20);
        assert!(text.contains(";burner;main;main.main;main.worker 1\n"), "{text}");
        assert!(text.contains(";burner;main;do_work_[k] 1\n"), "{text}");
        assert_eq!(complete, 1, "the second is short, and not truncated");
    }

    #[test]
    fn recursion_through_an_entry_function_keeps_its_frames() {
        let stacks = stacks(&[&[Frame::Truncated, code(1), code(4), code(2)]]);
        let text = fold(&stacks, &mut named, &known(), 1 << 20).text;
        assert_eq!(text, "cart-7/app;burner;burner;[truncated];main.main;main;main.worker 1\n");
    }

    #[test]
    fn innermost_functions_without_a_frame_are_counted_also_under_the_kernel() {
        let stacks = stacks(&[
            &[code(0), code(1), code(3)],
            &[code(0), code(1), code(3), Frame::Kernel(9)],
            // Not the innermost.
            &[code(0), code(3), code(1)],
            &[Frame::Kernel(9)],
        ]);
        assert_eq!(fold(&stacks, &mut named, &known(), 1 << 20).caller_missing, 2);
    }
}

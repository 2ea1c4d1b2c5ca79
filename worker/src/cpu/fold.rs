//! Counted stacks to folded text, the heaviest first: `comm;main;burn_primes 42`. Kernel frames end in `_[k]`, by which flame
//! graphs choose their colour.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Write,
    rc::Rc,
};

use trilobite_node_ebpf::{STACK_FRAMES_MAX, STACK_FRAMES_SHORT};

use trilobite_worker_wire::names::{sanitize_name, sanitize_symbol};

use super::stacks::{Frame, Stacks};
use crate::entry_functions::is_entry_function;

/// The line that sums all stacks without a line of their own.
const REST: &str = "[the rest]";

/// Folded stacks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Folded {
    /// One line for each stack.
    pub(super) text: String,
    /// Samples that were counted as truncated although their stacks reach an entry function.
    pub(super) complete: u64,
}

/// Folds stacks into at most `limit` bytes of text; the stacks that do not fit are summed in one line. `function_names` names
/// offsets in one file, in order; `kernel` has the names of kernel addresses.
pub(super) fn fold(
    stacks: &Stacks,
    function_names: &mut dyn FnMut(u32, &[u64]) -> Vec<String>,
    kernel: &HashMap<u64, String>,
    limit: usize,
) -> Folded {
    let names = frame_names(stacks.frames(), function_names, kernel);
    let mut rows: Vec<(&[u32], u64)> = stacks.counts().collect();
    rows.sort_unstable_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(right.0)));
    let mut lines: HashMap<String, u64> = HashMap::new();
    let (mut bytes, mut rest, mut complete) = (0, 0, 0);
    for (row, count) in rows {
        let mut line: Vec<&str> = row.iter().map(|number| &*names[*number as usize]).collect();
        if let Some(outermost) = truncated_at(stacks.frames(), row)
            // The first name is the thread's, which may be any.
            && line.iter().skip(1).any(|name| is_entry_function(name))
        {
            complete += count;
            if outermost == Frame::Unknown {
                // An entry function has no caller.
                line.remove(1);
            }
        }
        let line = line.join(";");
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
    Folded { text, complete }
}

/// The program's outermost frame if the stack counts as truncated as long as its frames have no names: the stack is short, or the
/// walk has left all known code.
fn truncated_at(frames: &[Frame], row: &[u32]) -> Option<Frame> {
    let mut stack = row.iter().skip(1).filter_map(|number| frames.get(*number as usize)).copied().peekable();
    let outermost = *stack.peek()?;
    let kernel = stack.clone().filter(|frame| matches!(frame, Frame::Kernel(_))).count();
    let user = stack.count() - kernel;
    let truncated = user <= STACK_FRAMES_SHORT as usize || outermost == Frame::Unknown;
    (user > 0 && kernel < STACK_FRAMES_MAX as usize && truncated).then_some(outermost)
}

/// The kernel's addresses among the frames.
pub(super) fn kernel_addresses(frames: &[Frame]) -> Vec<u64> {
    frames.iter().filter_map(|frame| if let Frame::Kernel(address) = frame { Some(*address) } else { None }).collect()
}

fn frame_names(
    frames: &[Frame],
    function_names: &mut dyn FnMut(u32, &[u64]) -> Vec<String>,
    kernel: &HashMap<u64, String>,
) -> Vec<Rc<str>> {
    // Many frames share a name, and names are long.
    let mut interned: HashSet<Rc<str>> = HashSet::new();
    let mut intern = |name: String| match interned.get(name.as_str()) {
        Some(name) => name.clone(),
        None => {
            let name: Rc<str> = name.into();
            interned.insert(name.clone());
            name
        }
    };
    let mut names: Vec<Rc<str>> = vec!["".into(); frames.len()];
    let mut by_file: BTreeMap<u32, Vec<(usize, u64)>> = BTreeMap::new();
    for (number, frame) in frames.iter().enumerate() {
        match frame {
            Frame::Comm(comm) => {
                let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
                names[number] = intern(sanitize_name(&String::from_utf8_lossy(&comm[..end])));
            }
            Frame::File { file, offset } => by_file.entry(*file).or_default().push((number, *offset)),
            Frame::Kernel(address) => {
                names[number] = intern(match kernel.get(address) {
                    Some(name) => format!("{}_[k]", sanitize_symbol(name)),
                    None => "[kernel]_[k]".to_owned(),
                });
            }
            Frame::Unknown => names[number] = intern("[unknown]".to_owned()),
        }
    }
    for (file, numbered) in by_file {
        let offsets: Vec<u64> = numbered.iter().map(|(_, offset)| *offset).collect();
        for ((number, _), name) in numbered.into_iter().zip(function_names(file, &offsets)) {
            names[number] = intern(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMM: Frame = Frame::Comm(*b"burner\0\0\0\0\0\0\0\0\0\0");

    fn some_stacks() -> Stacks {
        let mut stacks = Stacks::new(1 << 20);
        stacks.add(&[COMM, Frame::Unknown]);
        for _ in 0..3 {
            stacks.add(&[COMM, Frame::File { file: 1, offset: 4 }, Frame::Kernel(9)]);
        }
        // Another offset in the same file with the same name.
        stacks.add(&[COMM, Frame::File { file: 1, offset: 8 }, Frame::Kernel(9)]);
        stacks
    }

    fn app(_: u32, offsets: &[u64]) -> Vec<String> {
        vec!["[app]".into(); offsets.len()]
    }

    #[test]
    fn stacks_with_equal_names_are_one_line_and_the_heaviest_first() {
        let kernel = HashMap::from([(9, "do_work".to_owned())]);
        let text = fold(&some_stacks(), &mut app, &kernel, 1 << 20);
        assert_eq!(text.text, "burner;[app];do_work_[k] 4\nburner;[unknown] 1\n");
    }

    #[test]
    fn stacks_above_the_limit_are_summed_in_one_line() {
        let text = fold(&some_stacks(), &mut app, &HashMap::new(), 30);
        assert_eq!(text.text, "burner;[app];[kernel]_[k] 4\n[the rest] 1\n");
    }

    #[test]
    fn thread_called_main_does_not_complete_its_stacks() {
        let mut stacks = Stacks::new(1 << 20);
        stacks.add(&[Frame::Comm(*b"main\0\0\0\0\0\0\0\0\0\0\0\0"), Frame::File { file: 1, offset: 4 }]);
        assert_eq!(fold(&stacks, &mut app, &HashMap::new(), 1 << 20).complete, 0);
    }

    #[test]
    fn short_stack_is_complete_if_it_reaches_an_entry_function() {
        let code = |offset| Frame::File { file: 1, offset };
        let mut stacks = Stacks::new(1 << 20);
        for stack in [
            [COMM, code(0), code(3)].as_slice(),
            // The unknown frame lies behind an entry function.
            &[COMM, Frame::Unknown, code(0), code(2), code(3)],
            &[COMM, code(2), code(3)],
            &[COMM, Frame::Unknown, code(2), code(3)],
            // Deep enough not to count as truncated.
            &[COMM, code(0), code(1), code(2), code(3)],
        ] {
            stacks.add(stack);
        }
        let mut function_names = |_: u32, offsets: &[u64]| {
            let names = ["runtime.goexit.abi0", "main.main", "main.worker", "main.step"];
            offsets.iter().map(|offset| names[*offset as usize].to_owned()).collect()
        };
        let Folded { text, complete } = fold(&stacks, &mut function_names, &HashMap::new(), 1 << 20);
        assert_eq!(complete, 2);
        assert!(text.contains("burner;runtime.goexit.abi0;main.worker;main.step 1\n"), "{text}");
        assert!(text.contains("burner;[unknown];main.worker;main.step 1\n"), "{text}");
    }
}

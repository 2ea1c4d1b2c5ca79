//! Counted stacks to folded text: `comm;main;burn_primes 42`, the heaviest first. Kernel frames end in `_[k]`, which is
//! what flame graphs colour them by.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Write,
    rc::Rc,
};

use trilobite_node_ebpf::limits::{STACK_FRAMES_MAX, STACK_FRAMES_SHORT};

use super::{
    frame::{clean, clean_symbol},
    roots::is_root,
    stacks::{Frame, Stacks},
};

/// Where everything goes that has no room for a line of its own.
const REST: &str = "[the rest]";

/// What comes out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Folded {
    /// The lines.
    pub(super) text: String,
    /// Samples that were counted as truncated, and whose stacks reach a known root for all that.
    pub(super) whole: u64,
}

/// Folds. `file` names places of one file, in order; `kernel` are names of kernel addresses, `limit` bytes of text at most;
/// what has no line is summed in one.
pub(super) fn fold(
    stacks: &Stacks,
    file: &mut dyn FnMut(u32, &[u64]) -> Vec<String>,
    kernel: &HashMap<u64, String>,
    limit: usize,
) -> Folded {
    let names = names(stacks.frames(), file, kernel);
    let mut rows: Vec<(&[u32], u64)> = stacks.counts().collect();
    rows.sort_unstable_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(right.0)));
    let mut lines: HashMap<String, u64> = HashMap::new();
    let (mut bytes, mut rest, mut whole) = (0, 0, 0);
    for (row, count) in rows {
        let mut line: Vec<&str> = row.iter().map(|number| &*names[*number as usize]).collect();
        if let Some(root) = open_root(stacks.frames(), row)
            // A thread may have any name.
            && line.iter().skip(1).any(|name| is_root(name))
        {
            whole += count;
            if root == Frame::Unknown {
                // Behind the root there is nothing to be known.
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
    Folded { text, whole }
}

/// The outermost frame of the program, where the stack counts as truncated until names say otherwise: it is short, or the
/// walk has left all code.
fn open_root(frames: &[Frame], row: &[u32]) -> Option<Frame> {
    let mut places = row.iter().skip(1).filter_map(|number| frames.get(*number as usize)).copied().peekable();
    let root = *places.peek()?;
    let kernel = places.clone().filter(|frame| matches!(frame, Frame::Kernel(_))).count();
    let user = places.count() - kernel;
    let most = STACK_FRAMES_MAX as usize;
    let open = user <= STACK_FRAMES_SHORT as usize || root == Frame::Unknown;
    (user > 0 && kernel < most && open).then_some(root)
}

/// The kernel's addresses among the frames.
pub(super) fn kernel_addresses(frames: &[Frame]) -> Vec<u64> {
    frames.iter().filter_map(|frame| if let Frame::Kernel(address) = frame { Some(*address) } else { None }).collect()
}

fn names(
    frames: &[Frame],
    named: &mut dyn FnMut(u32, &[u64]) -> Vec<String>,
    kernel: &HashMap<u64, String>,
) -> Vec<Rc<str>> {
    // Many places have the same name, and names are long.
    let mut kept: HashSet<Rc<str>> = HashSet::new();
    let mut keep = |name: String| match kept.get(name.as_str()) {
        Some(name) => name.clone(),
        None => {
            let name: Rc<str> = name.into();
            kept.insert(name.clone());
            name
        }
    };
    let mut names: Vec<Rc<str>> = vec!["".into(); frames.len()];
    let mut by_file: BTreeMap<u32, Vec<(usize, u64)>> = BTreeMap::new();
    for (number, frame) in frames.iter().enumerate() {
        match frame {
            Frame::Comm(comm) => {
                let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
                names[number] = keep(clean(&String::from_utf8_lossy(&comm[..end])));
            }
            Frame::File { file, offset } => by_file.entry(*file).or_default().push((number, *offset)),
            Frame::Kernel(address) => {
                names[number] = keep(match kernel.get(address) {
                    Some(name) => format!("{}_[k]", clean_symbol(name)),
                    None => "[kernel]_[k]".to_owned(),
                });
            }
            Frame::Unknown => names[number] = keep("[unknown]".to_owned()),
        }
    }
    for (file, places) in by_file {
        let offsets: Vec<u64> = places.iter().map(|(_, offset)| *offset).collect();
        for ((number, _), name) in places.into_iter().zip(named(file, &offsets)) {
            names[number] = keep(name);
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
        // Another place of the same file with the same name.
        stacks.add(&[COMM, Frame::File { file: 1, offset: 8 }, Frame::Kernel(9)]);
        stacks
    }

    fn app(_: u32, offsets: &[u64]) -> Vec<String> {
        vec!["[app]".into(); offsets.len()]
    }

    #[test]
    fn stacks_of_the_same_names_are_one_line_and_the_heaviest_is_first() {
        let kernel = HashMap::from([(9, "do_work".to_owned())]);
        let text = fold(&some_stacks(), &mut app, &kernel, 1 << 20);
        assert_eq!(text.text, "burner;[app];do_work_[k] 4\nburner;[unknown] 1\n");
    }

    #[test]
    fn what_has_no_room_is_summed_and_no_sample_disappears() {
        let text = fold(&some_stacks(), &mut app, &HashMap::new(), 30);
        assert_eq!(text.text, "burner;[app];[kernel]_[k] 4\n[the rest] 1\n");
    }

    #[test]
    fn a_thread_that_is_called_main_does_not_make_its_stacks_whole() {
        let mut stacks = Stacks::new(1 << 20);
        stacks.add(&[Frame::Comm(*b"main\0\0\0\0\0\0\0\0\0\0\0\0"), Frame::File { file: 1, offset: 4 }]);
        assert_eq!(fold(&stacks, &mut app, &HashMap::new(), 1 << 20).whole, 0);
    }

    #[test]
    fn a_short_stack_that_reaches_a_known_root_is_whole_and_one_that_does_not_is_not() {
        let place = |offset| Frame::File { file: 1, offset };
        let mut stacks = Stacks::new(1 << 20);
        for stack in [
            [COMM, place(0), place(3)].as_slice(),
            // What lies behind the root was no frame.
            &[COMM, Frame::Unknown, place(0), place(2), place(3)],
            &[COMM, place(2), place(3)],
            &[COMM, Frame::Unknown, place(2), place(3)],
            // Nobody took this one for truncated.
            &[COMM, place(0), place(1), place(2), place(3)],
        ] {
            stacks.add(stack);
        }
        let mut named = |_: u32, offsets: &[u64]| {
            let names = ["runtime.goexit.abi0", "main.main", "main.worker", "main.step"];
            offsets.iter().map(|offset| names[*offset as usize].to_owned()).collect()
        };
        let Folded { text, whole } = fold(&stacks, &mut named, &HashMap::new(), 1 << 20);
        assert_eq!(whole, 2);
        assert!(text.contains("burner;runtime.goexit.abi0;main.worker;main.step 1\n"), "{text}");
        assert!(text.contains("burner;[unknown];main.worker;main.step 1\n"), "{text}");
    }
}

//! Counted stacks to folded text: `comm;main;burn_primes 42`, the heaviest first. Kernel frames end in `_[k]`, which is
//! what flame graphs colour them by.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
};

use super::{
    frame::clean,
    stacks::{Frame, Stacks},
};

/// Where everything goes that has no room for a line of its own.
const REST: &str = "[the rest]";

/// Folds. `file` names places of one file, in order; `kernel` are names of kernel addresses, `limit` bytes of text at most;
/// what has no line is summed in one.
pub(super) fn fold(
    stacks: &Stacks,
    file: &mut dyn FnMut(u32, &[u64]) -> Vec<String>,
    kernel: &HashMap<u64, String>,
    limit: usize,
) -> String {
    let names = names(stacks.frames(), file, kernel);
    let mut rows: Vec<(&[u32], u64)> = stacks.counts().collect();
    rows.sort_unstable_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(right.0)));
    let mut lines: HashMap<String, u64> = HashMap::new();
    let (mut bytes, mut rest) = (0, 0);
    for (row, count) in rows {
        let line = row.iter().map(|number| &*names[*number as usize]).collect::<Vec<_>>().join(";");
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
    text
}

/// The kernel's addresses among the frames.
pub(super) fn kernel_addresses(frames: &[Frame]) -> Vec<u64> {
    frames.iter().filter_map(|frame| if let Frame::Kernel(address) = frame { Some(*address) } else { None }).collect()
}

fn names(
    frames: &[Frame],
    named: &mut dyn FnMut(u32, &[u64]) -> Vec<String>,
    kernel: &HashMap<u64, String>,
) -> Vec<String> {
    let mut names = vec![String::new(); frames.len()];
    let mut by_file: BTreeMap<u32, Vec<(usize, u64)>> = BTreeMap::new();
    for (number, frame) in frames.iter().enumerate() {
        match frame {
            Frame::Comm(comm) => {
                let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
                names[number] = clean(&String::from_utf8_lossy(&comm[..end]));
            }
            Frame::File { file, offset } => by_file.entry(*file).or_default().push((number, *offset)),
            Frame::Kernel(address) => {
                names[number] = match kernel.get(address) {
                    Some(name) => format!("{}_[k]", clean(name)),
                    None => "[kernel]_[k]".to_owned(),
                };
            }
            Frame::Unknown => names[number] = "[unknown]".to_owned(),
        }
    }
    for (file, places) in by_file {
        let offsets: Vec<u64> = places.iter().map(|(_, offset)| *offset).collect();
        for ((number, _), name) in places.into_iter().zip(named(file, &offsets)) {
            names[number] = name;
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
        assert_eq!(text, "burner;[app];do_work_[k] 4\nburner;[unknown] 1\n");
    }

    #[test]
    fn what_has_no_room_is_summed_and_no_sample_disappears() {
        let text = fold(&some_stacks(), &mut app, &HashMap::new(), 30);
        assert_eq!(text, "burner;[app];[kernel]_[k] 4\n[the rest] 1\n");
    }
}

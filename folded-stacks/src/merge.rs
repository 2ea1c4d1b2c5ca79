//! Merges folded stacks (`outer;inner 12` on a line) of any number of nodes: samples of the same stack are added up.

use std::collections::BTreeMap;

use trilobite_flame_graph::ROOT_FRAMES;

/// Stacks with their samples, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folded(BTreeMap<String, u64>);

/// One stack, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack<'a> {
    /// `pod/container`, process and thread; empty for a line without them.
    root: &'a str,
    /// Functions, the outermost first.
    pub code: Vec<&'a str>,
}

impl<'a> Stack<'a> {
    fn parse(text: &'a str) -> Self {
        match text.match_indices(';').nth(ROOT_FRAMES - 1) {
            Some((end, _)) => Self { root: &text[..end], code: text[end + 1..].split(';').collect() },
            None => Self { root: "", code: text.split(';').collect() },
        }
    }

    /// Names and values of what the root says.
    pub fn labels(&self) -> Vec<(&'static str, &'a str)> {
        let [place, process, thread] = *self.root.split(';').collect::<Vec<&str>>() else { return Vec::new() };
        let mut labels = match place.split_once('/') {
            Some((pod, container)) => vec![("pod", pod), ("container", container)],
            None => vec![("pod", place)],
        };
        labels.extend([("process", process), ("thread", thread)]);
        labels
    }
}

/// A line that is not a stack.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {number} is not a folded stack: {line:?}")]
pub struct FoldedError {
    number: usize,
    line: String,
}

impl Folded {
    /// Adds the stacks of one node, or none of them if a line is wrong.
    pub fn add(&mut self, text: &str) -> Result<(), FoldedError> {
        let mut stacks = Vec::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let parsed = line.rsplit_once(' ').and_then(|(stack, count)| Some((stack, count.parse::<u64>().ok()?)));
            match parsed {
                Some((stack, count)) if !stack.is_empty() => stacks.push((stack, count)),
                _ => return Err(FoldedError { number: at + 1, line: line.chars().take(80).collect() }),
            }
        }
        for (stack, count) in stacks {
            let sum = self.0.entry(stack.to_owned()).or_default();
            *sum = sum.saturating_add(count);
        }
        Ok(())
    }

    /// Sum of all samples.
    pub fn samples(&self) -> u64 {
        self.0.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Each stack with its samples.
    pub fn stacks(&self) -> impl Iterator<Item = (Stack<'_>, u64)> {
        self.0.iter().map(|(stack, count)| (Stack::parse(stack), *count))
    }

    /// All lines.
    pub fn text(&self) -> String {
        self.lines().map(|line| line + "\n").collect()
    }

    /// One stack per line.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(stack, count)| format!("{stack} {count}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn merged<'a>(texts: impl IntoIterator<Item = &'a String>) -> Folded {
        let mut folded = Folded::default();
        texts.into_iter().for_each(|text| folded.add(text).unwrap());
        folded
    }

    #[test]
    fn same_stack_on_two_nodes_is_added_up() {
        let folded = merged(&["main;read 2\nmain 1\n".to_owned(), "main;read 3".to_owned()]);
        assert_eq!(folded.lines().collect::<Vec<_>>(), ["main 1", "main;read 5"]);
    }

    #[test]
    fn root_of_a_stack_is_no_code() {
        let stack = Stack::parse("cart-7/app;app;io;main;read");
        assert_eq!(stack.code, ["main", "read"]);
        assert_eq!(stack.labels(), [("pod", "cart-7"), ("container", "app"), ("process", "app"), ("thread", "io")]);
        let without_root = Stack::parse("[the rest]");
        assert_eq!((without_root.code.as_slice(), without_root.labels()), (["[the rest]"].as_slice(), Vec::new()));
    }

    #[test]
    fn symbol_may_contain_blanks() {
        let folded = merged(&["app;operator new(unsigned long) 4".to_owned()]);
        assert_eq!(folded.lines().collect::<Vec<_>>(), ["app;operator new(unsigned long) 4"]);
    }

    #[test]
    fn wrong_line_is_named_and_nothing_is_added() {
        let mut folded = Folded::default();
        let error = folded.add("main 1\nmain;read many\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2 is not a folded stack: \"main;read many\"");
        assert_eq!(folded, Folded::default());
    }

    fn node() -> impl Strategy<Value = String> {
        vec(("[ab](;[ab ]{1,3}){0,3}x", 0u64..1_000_000), 0..8)
            .prop_map(|stacks| stacks.into_iter().map(|(stack, count)| format!("{stack} {count}\n")).collect())
    }

    proptest! {
        #[test]
        fn sum_of_samples_is_kept(nodes in vec(node(), 0..5)) {
            let sum: u64 = nodes.iter().map(|node| merged([node]).samples()).sum();
            prop_assert_eq!(merged(&nodes).samples(), sum);
        }

        #[test]
        fn order_of_nodes_does_not_matter(nodes in vec(node(), 0..5), turn in 0usize..5) {
            let mut turned = nodes.clone();
            turned.rotate_left(turn.min(nodes.len()));
            prop_assert_eq!(merged(&nodes), merged(&turned));
        }

        #[test]
        fn written_stacks_are_read_back(node in node()) {
            let folded = merged([&node]);
            let text = folded.lines().collect::<Vec<_>>().join("\n");
            prop_assert_eq!(merged([&text]), folded);
        }
    }
}

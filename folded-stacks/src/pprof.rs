//! Folded stacks in pprof's format: a gzipped protobuf, by the public `profile.proto`. Pod, container, process and thread are
//! labels of the samples, so that pprof can select by them; libraries and the kernel are mappings.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use flate2::{Compression, write::GzEncoder};
use prost::Message;
use trilobite_flame_graph::frame_text::{self, Origin};

use super::merge::{Folded, Stack};

/// What a profile says beside its stacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampling {
    /// Samples a second on each processor.
    pub frequency_hz: u32,
    /// Start, in nanoseconds since 1970.
    pub started_ns: i64,
    /// For how long, in milliseconds.
    pub sampled_ms: u64,
}

/// The file's bytes. `comment` is shown by pprof beside the profile.
pub fn encode(folded: &Folded, sampling: Sampling, comment: &str) -> io::Result<Vec<u8>> {
    let profile = build(folded, sampling, comment);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&profile.encode_to_vec())?;
    gzip.finish()
}

fn build(folded: &Folded, sampling: Sampling, comment: &str) -> Profile {
    let mut tables = Tables::default();
    // The first string is empty: a number of 0 means no text.
    tables.text("");
    let period = 1_000_000_000 / i64::from(sampling.frequency_hz.max(1));
    let (count, cpu) = (tables.value_type("samples", "count"), tables.value_type("cpu", "nanoseconds"));
    let samples = folded.stacks().map(|(stack, samples)| tables.sample(&stack, samples, period)).collect();
    let comment = vec![tables.text(comment)];
    let Tables { texts, mappings, locations, .. } = tables;
    Profile {
        sample_type: vec![count, cpu],
        sample: samples,
        mapping: mappings.list,
        function: locations.iter().map(|(function, _)| *function).collect(),
        location: locations.into_iter().map(|(_, location)| location).collect(),
        string_table: texts.list,
        time_nanos: sampling.started_ns,
        duration_nanos: i64::try_from(sampling.sampled_ms.saturating_mul(1_000_000)).unwrap_or(i64::MAX),
        period_type: Some(cpu),
        period,
        comment,
        default_sample_type: cpu.kind,
    }
}

/// Tables of a profile, whose entries are referred to by their numbers.
#[derive(Default)]
struct Tables {
    texts: Numbered<String>,
    mappings: Numbered<Mapping>,
    /// Each function has one location, of the same number.
    locations: Vec<(Function, Location)>,
    by_frame: HashMap<String, u64>,
}

struct Numbered<T> {
    list: Vec<T>,
    by_text: HashMap<String, u64>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { list: Vec::new(), by_text: HashMap::new() }
    }
}

impl Tables {
    fn text(&mut self, text: &str) -> i64 {
        let Numbered { list, by_text } = &mut self.texts;
        let number = *by_text.entry(text.to_owned()).or_insert_with(|| {
            list.push(text.to_owned());
            list.len() as u64 - 1
        });
        number.cast_signed()
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> ValueType {
        ValueType { kind: self.text(kind), unit: self.text(unit) }
    }

    fn sample(&mut self, stack: &Stack<'_>, samples: u64, period: i64) -> Sample {
        let samples = i64::try_from(samples).unwrap_or(i64::MAX);
        let label = |(key, text): &(&str, &str)| Label { key: self.text(key), text: self.text(text) };
        let labels = stack.labels().iter().map(label).collect();
        Sample {
            location_id: stack.code.iter().rev().map(|frame| self.location(frame)).collect(),
            value: vec![samples, samples.saturating_mul(period)],
            label: labels,
        }
    }

    fn location(&mut self, text: &str) -> u64 {
        if let Some(number) = self.by_frame.get(text) {
            return *number;
        }
        let (origin, function) = frame_text::parse(text);
        let file = match origin {
            Origin::Kernel => "[kernel]",
            Origin::Jit => "[compiled at run time]",
            Origin::Library(file) => file,
            Origin::Program | Origin::Missing => "",
        };
        let mapping_id = if file.is_empty() { 0 } else { self.mapping(file) };
        let name = self.text(function);
        let filename = self.text(file);
        let id = self.locations.len() as u64 + 1;
        let location = Location { id, mapping_id, line: vec![Line { function_id: id }] };
        self.locations.push((Function { id, name, system_name: name, filename }, location));
        self.by_frame.insert(text.to_owned(), id);
        id
    }

    fn mapping(&mut self, file: &str) -> u64 {
        if let Some(number) = self.mappings.by_text.get(file) {
            return *number;
        }
        let id = self.mappings.list.len() as u64 + 1;
        let filename = self.text(file);
        self.mappings.list.push(Mapping { id, filename, has_functions: true });
        self.mappings.by_text.insert(file.to_owned(), id);
        id
    }
}

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
    #[prost(int64, repeated, tag = "13")]
    comment: Vec<i64>,
    #[prost(int64, tag = "14")]
    default_sample_type: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    /// The innermost function first.
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    text: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Mapping {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "5")]
    filename: i64,
    #[prost(bool, tag = "7")]
    has_functions: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping_id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

#[cfg(test)]
mod tests {
    use std::{io::Read, process::Command};

    use flate2::read::GzDecoder;

    use super::*;

    const STACKS: &str = "\
cart-7/app;python3;worker-1;main;dig;libc.so.6`memcpy 30
cart-7/app;python3;worker-2;main;libc.so.6`read;vfs_read_[k] 10
[the rest] 2
";
    const SAMPLING: Sampling = Sampling { frequency_hz: 49, started_ns: 1_700_000_000_000_000_000, sampled_ms: 10_800 };

    fn encoded() -> Vec<u8> {
        let mut folded = Folded::default();
        folded.add(STACKS).unwrap();
        encode(&folded, SAMPLING, "CPU of shop/cart-7").unwrap()
    }

    fn decoded() -> Profile {
        let mut bytes = Vec::new();
        GzDecoder::new(&*encoded()).read_to_end(&mut bytes).unwrap();
        Profile::decode(&*bytes).unwrap()
    }

    #[test]
    fn stacks_are_innermost_first_with_their_labels() {
        let profile = decoded();
        let text = |number: i64| profile.string_table[usize::try_from(number).unwrap()].as_str();
        let name = |id: &u64| text(profile.function[*id as usize - 1].name);
        let sample = profile.sample.iter().find(|sample| sample.value[0] == 30).unwrap();
        assert_eq!(sample.location_id.iter().map(name).collect::<Vec<_>>(), ["memcpy", "dig", "main"]);
        let labels: Vec<(&str, &str)> = sample.label.iter().map(|label| (text(label.key), text(label.text))).collect();
        assert_eq!(labels, [("pod", "cart-7"), ("container", "app"), ("process", "python3"), ("thread", "worker-1")]);
        assert_eq!(sample.value[1], 30 * 20_408_163);
        let files: Vec<&str> = profile.mapping.iter().map(|mapping| text(mapping.filename)).collect();
        assert_eq!(files, ["libc.so.6", "[kernel]"]);
        assert_eq!((profile.string_table[0].as_str(), profile.duration_nanos), ("", 10_800_000_000));
    }

    /// `go tool pprof` is the judge, where Go is installed.
    #[test]
    fn pprof_reads_the_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("cpu.pb.gz"), encoded()).unwrap();
        let mut go = Command::new("go");
        go.args(["tool", "pprof", "-top", "-tagfocus=thread=worker-1", "cpu.pb.gz"]).current_dir(folder.path());
        let Ok(output) = go.env("PPROF_TMPDIR", folder.path()).output() else { return };
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("memcpy") && text.contains("Type: cpu"), "{text}");
        assert!(!text.contains("vfs_read"), "{text}");
    }
}

//! What agent and worker say to each other. A frame is a byte that names it and a body: JSON for what is small, bytes as
//! they are for results. The worker is not trusted: what it sends is parsed within limits and means nothing by itself.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::channel::FRAME_MAX;

/// Bytes of a result that go into one frame.
pub const CHUNK: usize = FRAME_MAX - 1;

/// Characters of a name that are kept: names are a stranger's too.
pub const NAME_MAX: usize = 128;
/// Of a function's name: those of templates and generics differ late.
pub const SYMBOL_MAX: usize = 512;
/// Hexadecimal digits that tell names apart which are the same as far as they are kept.
const CUT_DIGITS: usize = 8;

/// Names a process image, as `ExecKey` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Thread group id, as the agent's `/proc` shows it.
    pub pid: u32,
    /// Start and exec count.
    pub ktime: u64,
}

/// A file that code is mapped from; an id is given once and stands for the same file until the worker's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewFile {
    /// Its number.
    pub id: u32,
    /// Last part of its path, to call it by where there are no symbols.
    pub name: String,
    /// Its descriptor comes with the frame, in the order of the list.
    pub opened: bool,
}

/// A piece of a process's memory that holds code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Where in the file it begins.
    pub offset: u64,
    /// Of which file.
    pub file: u32,
}

/// What was counted while a profile ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Samples in the result.
    pub samples: u64,
    /// Of them, those with a stack that is not whole.
    pub truncated: u64,
    /// Of them, those of a process that had ended before its mappings were read.
    pub unmapped: u64,
    /// Dropped, because the cgroup turned out to be another's.
    pub others: u64,
    /// Dropped, because whose cgroup it is did not become known.
    pub undecided: u64,
    /// Dropped, because the memory budget was used up.
    pub overflow: u64,
    /// Files without symbols: dropped to stay inside their limit, or not to be opened by the worker.
    pub files_dropped: u64,
    /// Records that were no samples.
    pub malformed: u64,
}

/// From the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum ToWorker {
    /// Begin. With the ring, and with `/proc/kallsyms` where it could be opened.
    Start {
        /// Size of the ring.
        ring_bytes: u32,
        /// What the worker may hold, its binary not counted.
        memory_bytes: u64,
        /// The second descriptor is there.
        kallsyms: bool,
    },
    /// The code of a process; several frames, the last of them `complete`.
    Mappings {
        /// Whose.
        image: Image,
        /// Files that were not named before.
        files: Vec<NewFile>,
        /// Pieces.
        mappings: Vec<Mapping>,
        /// No more of this process.
        complete: bool,
    },
    /// Whether samples of a cgroup belong to this profile.
    Owner {
        /// Leaf cgroup.
        cgroup: u64,
        /// None: it did not become known.
        wanted: Option<bool>,
    },
    /// The profile is over: make the results.
    Finish {
        /// What the picture says at its top.
        title: String,
        /// Samples that the kernel could not deliver, for the picture's second line.
        lost: u64,
    },
}

/// From the worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToAgent {
    /// Confined, and reading the ring.
    Ready,
    /// A process was sampled whose code is not known yet, or no longer.
    WantMappings {
        /// Which.
        image: Image,
        /// Its leaf cgroup.
        cgroup: u64,
    },
    /// Samples wait for this.
    WantOwner {
        /// Leaf cgroup.
        cgroup: u64,
    },
    /// So far.
    Progress(Counts),
    /// Some of the folded stacks.
    Folded(Vec<u8>),
    /// The folded stacks so far are a whole text, of these sums. A text that follows takes its place once it is whole.
    Whole(Counts),
    /// From here on the bytes of a file are read, by its name; whoever hears nothing more knows where it ended.
    Reading(String),
    /// Some of the picture.
    Svg(Vec<u8>),
    /// Everything was sent.
    Done(Counts),
    /// The worker gives up, and says why.
    Failed(String),
}

/// Why a frame means nothing.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// No byte at all.
    #[error("an empty frame")]
    Empty,
    /// Longer than a frame may be.
    #[error("a frame of {0} bytes")]
    TooLong(usize),
    /// A kind that does not exist.
    #[error("a frame of kind {0}")]
    Kind(u8),
    /// A body that is not what its kind says.
    #[error("the body of a frame of kind {kind}: {source}")]
    Body {
        /// Its kind.
        kind: u8,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl ToWorker {
    /// As it is sent.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        json(0, self)
    }

    /// As it came.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        match split(bytes)? {
            (0, body) => value(0, body),
            (kind, _) => Err(FrameError::Kind(kind)),
        }
    }
}

impl ToAgent {
    /// As it is sent.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        match self {
            Self::Ready => Ok(vec![1]),
            Self::WantMappings { image, cgroup } => json(2, &(image, cgroup)),
            Self::WantOwner { cgroup } => json(3, cgroup),
            Self::Progress(counts) => json(4, counts),
            Self::Folded(bytes) => raw(5, bytes),
            Self::Svg(bytes) => raw(6, bytes),
            Self::Done(counts) => json(7, counts),
            Self::Failed(why) => json(8, why),
            Self::Whole(counts) => json(9, counts),
            Self::Reading(name) => json(10, name),
        }
    }

    /// As it came.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        let (kind, body) = split(bytes)?;
        Ok(match kind {
            1 => Self::Ready,
            2 => {
                let (image, cgroup) = value(2, body)?;
                Self::WantMappings { image, cgroup }
            }
            3 => Self::WantOwner { cgroup: value(3, body)? },
            4 => Self::Progress(value(4, body)?),
            5 => Self::Folded(body.to_vec()),
            6 => Self::Svg(body.to_vec()),
            7 => Self::Done(value(7, body)?),
            8 => Self::Failed(clean(&value::<String>(8, body)?)),
            9 => Self::Whole(value(9, body)?),
            10 => Self::Reading(clean(&value::<String>(10, body)?)),
            other => return Err(FrameError::Kind(other)),
        })
    }
}

/// What names of a stranger's may be in a frame, a line of stacks or a message: no separator, no line break, nothing that a
/// picture cannot hold, no blank at an edge, not without end.
pub fn clean(name: &str) -> String {
    clean_within(name, NAME_MAX)
}

/// The same for the name of a function.
pub fn clean_symbol(name: &str) -> String {
    clean_within(name, SYMBOL_MAX)
}

/// A name that is cut ends in a hash of the whole: two functions stay two, on every node that the stacks are merged of.
fn clean_within(name: &str, most: usize) -> String {
    let mut cleaned: Vec<char> = name.chars().take(most + 1).map(harmless).collect();
    // Readers of folded stacks trim their lines.
    let inner = |letter: &char| !letter.is_whitespace();
    let (first, last) = (cleaned.iter().position(inner), cleaned.iter().rposition(inner));
    let edges = cleaned.len();
    for at in (0..first.unwrap_or(edges)).chain(last.map_or(edges, |last| last + 1)..edges) {
        cleaned[at] = '?';
    }
    if cleaned.len() > most {
        cleaned.truncate(most - CUT_DIGITS - 1);
        let hash = Sha256::digest(name.as_bytes());
        cleaned.push('…');
        let digits = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]).take(CUT_DIGITS);
        cleaned.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
    }
    if cleaned.is_empty() { "?".to_owned() } else { cleaned.into_iter().collect() }
}

/// XML has no way to write controls and the two that are no characters.
fn harmless(letter: char) -> char {
    match letter {
        ';' => ':',
        '\u{fffe}' | '\u{ffff}' => '?',
        letter if letter.is_control() => '?',
        letter => letter,
    }
}

fn split(bytes: &[u8]) -> Result<(u8, &[u8]), FrameError> {
    if bytes.len() > FRAME_MAX {
        return Err(FrameError::TooLong(bytes.len()));
    }
    bytes.split_first().map(|(kind, body)| (*kind, body)).ok_or(FrameError::Empty)
}

fn value<T: DeserializeOwned>(kind: u8, body: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(body).map_err(|source| FrameError::Body { kind, source })
}

fn json<T: Serialize>(kind: u8, body: &T) -> Result<Vec<u8>, FrameError> {
    let body = serde_json::to_vec(body).map_err(|source| FrameError::Body { kind, source })?;
    raw(kind, &body)
}

fn raw(kind: u8, body: &[u8]) -> Result<Vec<u8>, FrameError> {
    if body.len() > CHUNK {
        return Err(FrameError::TooLong(body.len() + 1));
    }
    let mut bytes = Vec::with_capacity(body.len() + 1);
    bytes.push(kind);
    bytes.extend_from_slice(body);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_of_a_worker_make_the_agent_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = ToAgent::parse(&bytes);
            let _ = ToWorker::parse(&bytes);
        }

        #[test]
        fn a_known_kind_with_a_wild_body_is_an_error_or_a_frame(kind in 0u8..12, body in "\\PC{0,64}") {
            let mut bytes = vec![kind];
            bytes.extend_from_slice(body.as_bytes());
            if let Ok(frame) = ToAgent::parse(&bytes) {
                prop_assert!(frame.encode().is_ok());
            }
        }

        #[test]
        fn what_is_encoded_is_parsed_again(pid: u32, ktime: u64, cgroup: u64, samples: u64, text in prop::collection::vec(any::<u8>(), 0..64)) {
            let frames = [
                ToAgent::Ready,
                ToAgent::WantMappings { image: Image { pid, ktime }, cgroup },
                ToAgent::WantOwner { cgroup },
                ToAgent::Progress(Counts { samples, ..Counts::default() }),
                ToAgent::Folded(text.clone()),
                ToAgent::Svg(text),
                ToAgent::Whole(Counts { samples, ..Counts::default() }),
                ToAgent::Reading("libc.so.6".into()),
            ];
            for frame in frames {
                prop_assert_eq!(ToAgent::parse(&frame.encode().unwrap()).unwrap(), frame);
            }
        }
    }

    #[test]
    fn a_name_cannot_end_a_frame_or_a_line() {
        assert_eq!(clean("a;b\nc d"), "a:b?c d");
        assert_eq!(clean(&"x".repeat(1000)).chars().count(), NAME_MAX);
    }

    #[test]
    fn names_that_differ_behind_the_cut_stay_two() {
        let long = |end: &str| clean_symbol(&format!("{}{end}", "std::map<".repeat(100)));
        assert_ne!(long("int>"), long("long>"));
        assert_eq!(long("int>").chars().count(), SYMBOL_MAX);
        assert!(long("int>").starts_with("std::map<std::map<") && long("int>").contains('…'));
        let fits = "x".repeat(SYMBOL_MAX);
        assert_eq!(clean_symbol(&fits), fits);
    }

    #[test]
    fn a_name_has_no_blank_at_an_edge_and_nothing_that_xml_cannot_hold() {
        assert_eq!(clean(" worker 1\u{2003}"), "?worker 1?");
        assert_eq!(clean("a\u{fffe}b\u{ffff}\u{1}"), "a?b??");
        assert_eq!((clean("").as_str(), clean("  ").as_str()), ("?", "??"));
    }

    #[test]
    fn a_frame_longer_than_the_limit_is_refused() {
        assert!(matches!(ToAgent::parse(&vec![5; FRAME_MAX + 1]), Err(FrameError::TooLong(_))));
    }
}

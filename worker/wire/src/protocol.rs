//! The messages between agent and worker, and their encoding: a byte that says how the body is encoded, and the body, which is
//! JSON but for the bulk messages. The agent does not trust the worker: it decodes within limits and checks what it is told.

use serde::{Deserialize, Serialize};

use crate::{
    channel::MESSAGE_MAX,
    dns::{DnsCounts, DnsSeen},
    inspection::Inspection,
    names::sanitize_name,
    process_image::ProcessImage,
    recording::{RecordingHeader, RecordingSettings, Replayed},
    requests::{RequestCounts, RequestRow, RequestSettings, RowQuery, StreamVerdict, VERDICTS_MAX},
};

/// Bytes of a result that fit into one message.
pub const CHUNK_BYTES: usize = MESSAGE_MAX - 1;

/// First byte of a message whose body is JSON.
const JSON: u8 = 0;
/// First byte of `Message::FoldedChunk`.
const FOLDED_CHUNK: u8 = 1;
/// First byte of `Message::SvgChunk`.
const SVG_CHUNK: u8 = 2;
/// First byte of `Message::RecordedChunk`.
const RECORDED_CHUNK: u8 = 3;

/// A file that code is mapped from. An id is given once, and names the same file until the worker ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewFile {
    /// Id in `Mapping::file`.
    pub id: u32,
    /// Last part of its path: the name of its frames where symbols are missing.
    pub name: String,
    /// Its descriptor comes with the message, in the order of the list.
    pub opened: bool,
    /// How it names functions.
    pub kind: FileKind,
}

/// What a file says about the names of functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    /// An ELF file; offsets of samples are offsets in it.
    Elf,
    /// A perf map, as JIT compilers write it; offsets of samples are addresses of the process.
    PerfMap,
}

/// An executable mapping of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Offset in the file of the first address.
    pub offset: u64,
    /// Id of the file.
    pub file: u32,
}

/// Samples and files as the worker has counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleCounts {
    /// Samples in the result.
    pub samples: u64,
    /// Samples in the result whose stack is incomplete.
    pub truncated: u64,
    /// Samples in the result whose process had ended before its mappings were read.
    pub unmapped: u64,
    /// Samples in the result whose innermost function had no frame of its own, so that its caller is missing.
    pub caller_missing: u64,
    /// Samples in the result whose code was mapped anew while they were taken: their names may be those of other code.
    pub remapped: u64,
    /// Executable mappings that were not read, because a process has more than are read of one.
    pub mappings_dropped: u64,
    /// Samples dropped because their cgroup turned out not to be selected.
    pub others: u64,
    /// Samples dropped because the pod of their cgroup did not become known.
    pub undecided: u64,
    /// Samples dropped because the memory budget was used up.
    pub overflow: u64,
    /// Sampled files without symbols: above the limit of files, or not readable for the worker.
    pub files_dropped: u64,
    /// Records that could not be decoded.
    pub malformed: u64,
}

/// A message, in either direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Message {
    /// To the worker, first: starts a CPU profile. Carries the ring and, where it could be opened, `/proc/kallsyms`.
    Start {
        /// Size of the ring.
        ring_bytes: u32,
        /// Memory that the worker may use beside its binary.
        memory_bytes: u64,
        /// The second descriptor is there.
        kallsyms: bool,
    },
    /// To the worker: executable mappings of a process, in one or several messages. Carries the files that are opened.
    ProcessMappings {
        /// The process.
        image: ProcessImage,
        /// Files that this worker has not been sent before.
        files: Vec<NewFile>,
        /// Some of the mappings.
        mappings: Vec<Mapping>,
        /// This is the last message about the process.
        complete: bool,
        /// Mappings of the process that are not sent, because there are too many. Said by the last message.
        dropped: u32,
    },
    /// To the worker: the name of a cgroup's pod and container, for the root of its stacks.
    CgroupName {
        /// Leaf cgroup.
        cgroup: u64,
        /// `pod/container`.
        name: String,
    },
    /// To the worker: whether samples of a cgroup belong to this profile.
    CgroupMembership {
        /// Leaf cgroup.
        cgroup: u64,
        /// None: the pod of the cgroup did not become known.
        selected: Option<bool>,
    },
    /// To the worker: sampling has ended; make the result.
    Finish {
        /// What was profiled, for the title of the flame graph.
        target: String,
        /// Name of the node.
        node: String,
        /// Samples a second on each processor.
        frequency_hz: u32,
        /// How long samples were taken.
        sampled_ms: u64,
        /// CPU limit of the pod in thousandths of a processor; none without a limit, and for several pods.
        cpu_limit_millis: Option<u64>,
        /// Samples that the kernel could not deliver, for the subtitle.
        lost: u64,
    },
    /// To the worker, first: starts the requests of an AppProfile. Carries the ring.
    StartRequests {
        /// Size of the ring.
        ring_bytes: u32,
        /// Memory that the worker may use beside its binary.
        memory_bytes: u64,
        /// What becomes a row.
        settings: RequestSettings,
        /// What is recorded; none: nothing is.
        recording: Option<RecordingSettings>,
    },
    /// To the worker, first: makes rows of a recording, which comes with it. They are sent as if a reader had asked for them by the id 0.
    Replay {
        /// Memory that the worker may use beside its binary.
        memory_bytes: u64,
    },
    /// To the worker, first: reads packets from and to DNS servers. Carries their ring.
    StartDns {
        /// Size of the ring.
        ring_bytes: u32,
        /// Memory that the worker may use beside its binary.
        memory_bytes: u64,
        /// Records at the head of the ring to pass over: a worker before may have died of them.
        skip: u32,
    },
    /// To the agent: messages of DNS, in the order in which they were seen.
    DnsSeen(Vec<DnsSeen>),
    /// To the agent: counts of DNS so far.
    DnsProgress(DnsCounts),
    /// To the worker: asks for rows. Answered by `RowsChunk` and `RowsComplete` with the same id.
    RowsWanted {
        /// Chosen by the agent, not in use.
        id: u32,
        /// Which rows.
        query: RowQuery,
    },
    /// To the worker: the reader of these rows is gone.
    RowsCancelled {
        /// The id of `RowsWanted`.
        id: u32,
    },
    /// To the worker: capture has ended. What the ring has is still read; rows stay until the agent closes the socket.
    StopCapture,
    /// To the worker, first: asks for the TLS functions of one ELF file, which comes with it.
    Inspect,
    /// To the agent: the answer to `Inspect`, after which the worker ends.
    Inspected(Inspection),
    /// To the agent: the worker is confined and reads the ring.
    Ready,
    /// To the agent: asks for the mappings of a sampled process.
    MappingsWanted {
        /// The process.
        image: ProcessImage,
        /// Its leaf cgroup.
        cgroup: u64,
    },
    /// To the agent: asks whether a cgroup belongs to this profile; samples wait for the answer.
    MembershipWanted {
        /// Leaf cgroup.
        cgroup: u64,
    },
    /// To the agent: asks for the name of a cgroup that has samples.
    CgroupNameWanted {
        /// Leaf cgroup.
        cgroup: u64,
    },
    /// To the agent: counts so far.
    Progress(SampleCounts),
    /// To the agent: some of the folded stacks.
    #[serde(skip)]
    FoldedChunk(Vec<u8>),
    /// To the agent: the folded stacks sent so far are a complete text with these counts. A later text replaces it once that
    /// is complete too.
    FoldedComplete(SampleCounts),
    /// To the agent: the worker starts to read the contents of this file. Says where it ended if nothing follows.
    ReadingFile(String),
    /// To the agent: some of the flame graph.
    #[serde(skip)]
    SvgChunk(Vec<u8>),
    /// To the agent: everything has been sent.
    Done(SampleCounts),
    /// To the agent: decisions about streams, at most `VERDICTS_MAX`.
    Verdicts(Vec<StreamVerdict>),
    /// To the agent: counts of requests so far.
    RequestProgress(RequestCounts),
    /// To the agent: some of the recording. An empty one is its end, and comes before the counts that answer `StopCapture`.
    #[serde(skip)]
    RecordedChunk(Vec<u8>),
    /// To the agent: the beginning of the recording that is played.
    ReplayStarted(Box<RecordingHeader>),
    /// To the agent: all rows of the recording were sent.
    Replayed(Box<Replayed>),
    /// To the agent: some of the rows that were asked for, in the order of their sequence.
    RowsChunk {
        /// The id of `RowsWanted`.
        id: u32,
        /// The rows.
        rows: Vec<RequestRow>,
    },
    /// To the agent: the rows that existed have been sent; with `follow` chunks of newer ones go on, and the message is sent
    /// again when newer rows had left before they could be sent.
    RowsComplete {
        /// The id of `RowsWanted`.
        id: u32,
        /// The highest sequence so far, for `RowQuery::after_sequence`.
        newest_sequence: u64,
        /// Rows behind `after_sequence` that the answer lacks because they had left early: the memory budget was used up.
        evicted: u64,
    },
    /// To the agent: the worker gives up, with the error.
    Failed(String),
}

/// Why a message could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// No bytes.
    #[error("an empty message")]
    Empty,
    /// Above `MESSAGE_MAX`.
    #[error("a message of {0} bytes")]
    TooLong(usize),
    /// More parts than a message of its kind may have.
    #[error("a message with {0} parts")]
    TooMany(usize),
    /// An unknown first byte.
    #[error("a message with an unknown encoding {0}")]
    UnknownEncoding(u8),
    /// The body is not a message in JSON.
    #[error("the body of a message: {0}")]
    Body(#[from] serde_json::Error),
}

impl Message {
    /// The bytes to send.
    pub fn encode(&self) -> Result<Vec<u8>, MessageError> {
        match self {
            Self::FoldedChunk(bytes) => with_encoding(FOLDED_CHUNK, bytes),
            Self::SvgChunk(bytes) => with_encoding(SVG_CHUNK, bytes),
            Self::RecordedChunk(bytes) => with_encoding(RECORDED_CHUNK, bytes),
            message => with_encoding(JSON, &serde_json::to_vec(message)?),
        }
    }

    /// Decodes what the other side sent. Texts come out sanitized.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MESSAGE_MAX {
            return Err(MessageError::TooLong(bytes.len()));
        }
        let (encoding, body) = bytes.split_first().ok_or(MessageError::Empty)?;
        match *encoding {
            FOLDED_CHUNK => Ok(Self::FoldedChunk(body.to_vec())),
            SVG_CHUNK => Ok(Self::SvgChunk(body.to_vec())),
            RECORDED_CHUNK => Ok(Self::RecordedChunk(body.to_vec())),
            JSON => Ok(match serde_json::from_slice(body)? {
                Self::ReadingFile(name) => Self::ReadingFile(sanitize_name(&name)),
                Self::Failed(error) => Self::Failed(sanitize_name(&error)),
                Self::RequestProgress(counts) => Self::RequestProgress(counts.bounded()),
                Self::ReplayStarted(header) => Self::ReplayStarted(Box::new(header.bounded())),
                Self::Replayed(replayed) => Self::Replayed(Box::new(replayed.bounded())),
                Self::Inspected(inspection) if !inspection.is_within_limits() => {
                    return Err(MessageError::TooMany(inspection.functions.len()));
                }
                Self::DnsSeen(seen) => Self::DnsSeen(seen.into_iter().map(DnsSeen::bounded).collect()),
                Self::Verdicts(verdicts) if verdicts.len() > VERDICTS_MAX => {
                    return Err(MessageError::TooMany(verdicts.len()));
                }
                message => message,
            }),
            other => Err(MessageError::UnknownEncoding(other)),
        }
    }
}

fn with_encoding(encoding: u8, body: &[u8]) -> Result<Vec<u8>, MessageError> {
    if body.len() > CHUNK_BYTES {
        return Err(MessageError::TooLong(body.len() + 1));
    }
    let mut bytes = Vec::with_capacity(body.len() + 1);
    bytes.push(encoding);
    bytes.extend_from_slice(body);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        dns::tests::largest_answer,
        inspection::{InspectedFunction, RETURNS_MAX, TlsFunction, TlsImplementation},
        recording::{CallCount, Recorded},
        requests::{VerdictKind, tests::row},
    };

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = Message::decode(&bytes);
        }

        #[test]
        fn wild_body_is_an_error_or_a_message(encoding in 0u8..5, body in "\\PC{0,64}") {
            let mut bytes = vec![encoding];
            bytes.extend_from_slice(body.as_bytes());
            if let Ok(message) = Message::decode(&bytes) {
                prop_assert!(message.encode().is_ok());
            }
        }

        #[test]
        fn encoded_messages_are_decoded_again(
            pid: u32, ktime: u64, cgroup: u64, samples: u64, chunk in prop::collection::vec(any::<u8>(), 0..64)
        ) {
            let (image, counts) = (ProcessImage { pid, ktime }, SampleCounts { samples, ..SampleCounts::default() });
            let mappings = vec![Mapping { start: ktime, end: cgroup, offset: samples, file: pid }];
            let files = vec![NewFile { id: pid, name: "libc.so.6".into(), opened: true, kind: FileKind::PerfMap }];
            let messages = [
                Message::Start { ring_bytes: pid, memory_bytes: ktime, kallsyms: true },
                Message::ProcessMappings { image, files, mappings, complete: false, dropped: 7 },
                Message::CgroupName { cgroup, name: "cart-7/app".into() },
                Message::CgroupNameWanted { cgroup },
                Message::CgroupMembership { cgroup, selected: Some(true) },
                Message::CgroupMembership { cgroup, selected: None },
                Message::Finish {
                    target: "shop/cart-7".into(),
                    node: "birch".into(),
                    frequency_hz: pid,
                    sampled_ms: ktime,
                    cpu_limit_millis: Some(300),
                    lost: samples,
                },
                Message::Inspect,
                Message::Inspected(Inspection {
                    functions: vec![InspectedFunction {
                        function: TlsFunction::ReadEx,
                        entry: ktime,
                        returns: vec![cgroup, samples],
                        tail_jumps: pid,
                    }],
                    tls: Some(TlsImplementation::BoringSsl),
                    is_stripped: true,
                }),
                Message::Ready,
                Message::MappingsWanted { image, cgroup },
                Message::MembershipWanted { cgroup },
                Message::Progress(counts),
                Message::FoldedChunk(chunk.clone()),
                Message::FoldedComplete(counts),
                Message::ReadingFile("libc.so.6".into()),
                Message::SvgChunk(chunk.clone()),
                Message::Done(counts),
                Message::Failed("out of memory".into()),
                Message::StartRequests {
                    ring_bytes: pid,
                    memory_bytes: ktime,
                    settings: RequestSettings {
                        protocols: vec!["http".into()],
                        client: true,
                        redact_headers: vec!["x-key".into()],
                        retain_ns: samples,
                        ..RequestSettings::default()
                    },
                    recording: Some(RecordingSettings { max_bytes: ktime, ..RecordingSettings::default() }),
                },
                Message::Replay { memory_bytes: ktime },
                Message::StartDns { ring_bytes: pid, memory_bytes: ktime, skip: 1 },
                Message::DnsSeen(vec![largest_answer()]),
                Message::DnsProgress(DnsCounts { messages: samples, ..DnsCounts::default() }),
                Message::RecordedChunk(chunk.clone()),
                Message::ReplayStarted(Box::new(RecordingHeader {
                    boot_time_ns: ktime,
                    recording: RecordingSettings { profile: "shop/slow".into(), node: "birch".into(), max_bytes: cgroup },
                    ..RecordingHeader::default()
                })),
                Message::Replayed(Box::new(Replayed {
                    recorded: Some(Recorded {
                        left_out: [("tls".to_owned(), CallCount { calls: ktime, bytes: samples })].into(),
                        ..Recorded::default()
                    }),
                    problem: Some("at 9: no frame".into()),
                    ..Replayed::default()
                })),
                Message::RowsWanted {
                    id: pid,
                    query: RowQuery {
                        since_ns: ktime,
                        cgroups: Some(vec![cgroup]),
                        protocol: Some("dns".into()),
                        limit: pid,
                        follow: true,
                        ..RowQuery::default()
                    },
                },
                Message::RowsCancelled { id: pid },
                Message::StopCapture,
                Message::Verdicts(vec![StreamVerdict { stream: cgroup, kind: VerdictKind::Parse { sent: pid, received: 4096 } }]),
                Message::RequestProgress(RequestCounts {
                    connections: samples,
                    rows: [("pgsql".to_owned(), ktime)].into(),
                    ..RequestCounts::default()
                }),
                Message::RowsChunk { id: pid, rows: vec![row(ktime, "/cart"), row(samples, "")] },
                Message::RowsComplete { id: pid, newest_sequence: ktime, evicted: samples },
            ];
            for message in messages {
                prop_assert_eq!(Message::decode(&message.encode().unwrap()).unwrap(), message);
            }
        }
    }

    #[test]
    fn message_above_the_limit_is_refused() {
        let chunk = vec![FOLDED_CHUNK; MESSAGE_MAX + 1];
        assert!(matches!(Message::decode(&chunk), Err(MessageError::TooLong(_))));
        assert!(matches!(Message::FoldedChunk(chunk).encode(), Err(MessageError::TooLong(_))));
    }

    #[test]
    fn more_returns_of_a_function_than_allowed_are_refused() {
        let encoded = |count| {
            let function =
                InspectedFunction { function: TlsFunction::Read, entry: 1, returns: vec![2; count], tail_jumps: 0 };
            Message::Inspected(Inspection { functions: vec![function], ..Inspection::default() }).encode().unwrap()
        };
        assert!(Message::decode(&encoded(RETURNS_MAX)).is_ok());
        assert!(matches!(Message::decode(&encoded(RETURNS_MAX + 1)), Err(MessageError::TooMany(_))));
    }

    #[test]
    fn more_verdicts_than_allowed_are_refused() {
        let verdict = StreamVerdict { stream: 1, kind: VerdictKind::Ignore };
        let encoded = |count: usize| Message::Verdicts(vec![verdict; count]).encode().unwrap();
        assert!(Message::decode(&encoded(VERDICTS_MAX)).is_ok());
        assert!(matches!(Message::decode(&encoded(VERDICTS_MAX + 1)), Err(MessageError::TooMany(_))));
    }

    #[test]
    fn texts_of_a_worker_are_sanitized() {
        let sent = Message::Failed("no\nway".into()).encode().unwrap();
        assert_eq!(Message::decode(&sent).unwrap(), Message::Failed("no?way".into()));
    }
}

//! DNS messages (RFC 1035, 4): header, questions, records. Names are bounded, compression pointers only lead back.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// Records of a message that are read.
const RECORDS_MAX: usize = 128;

/// Questions of a message that are read.
const QUESTIONS_MAX: usize = 8;

/// Bytes of a name on the wire (RFC 1035, 2.3.4).
const NAME_MAX: usize = 255;

/// Compression pointers of a name that are followed.
const POINTERS_MAX: usize = 32;

/// Bytes of a text, or of data of an unknown type, that are printed.
const DATA_MAX: usize = 256;

pub(super) const HEADER_BYTES: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: u16,
    flags: u16,
    pub(super) questions: u16,
    pub(super) answers: u16,
    pub(super) authorities: u16,
    pub(super) additionals: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// Without the last dot; the root is a dot.
    pub(super) name: String,
    pub(super) kind: u16,
    class: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) kind: u16,
    /// Seconds.
    pub(super) ttl: u32,
    /// As zone files print it.
    pub(super) data: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) header: Header,
    pub(super) questions: Vec<Question>,
    /// Of the answer section.
    pub(super) answers: Vec<Record>,
    /// With the bits that EDNS adds.
    pub(super) rcode: u16,
    /// All that the header counts was there.
    is_whole: bool,
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        Some(Self {
            id: word(0)?,
            flags: word(2)?,
            questions: word(4)?,
            answers: word(6)?,
            authorities: word(8)?,
            additionals: word(10)?,
        })
    }

    /// `width` bits of the flags, from bit `at` on.
    pub(super) fn flag(&self, at: u32, width: u32) -> u16 {
        (self.flags >> at) & ((1 << width) - 1)
    }

    pub(super) fn is_answer(&self) -> bool {
        self.flag(15, 1) == 1
    }

    pub(super) fn rcode(&self) -> u16 {
        self.flag(0, 4)
    }

    /// Whether a resolver or server would send this: a known operation, the reserved bit empty, sections as they can be.
    pub(super) fn is_plausible(&self) -> bool {
        let counts = self.answers <= 4096 && self.authorities <= 512 && self.additionals <= 512;
        let sections = if self.is_answer() {
            self.questions <= 1
        } else {
            self.questions == 1 && self.answers == 0 && self.authorities <= 1 && self.rcode() == 0
        };
        matches!(self.flag(11, 4), 0 | 4) && self.flag(6, 1) == 0 && counts && sections
    }
}

impl Message {
    /// Reads a message; what is cut off of its records is left out.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let header = Header::read(bytes)?;
        let mut reader = Reader { bytes, at: HEADER_BYTES };
        if usize::from(header.questions) > QUESTIONS_MAX {
            return None;
        }
        let mut questions = Vec::with_capacity(usize::from(header.questions));
        for _ in 0..header.questions {
            questions.push(Question { name: reader.name()?, kind: reader.word()?, class: reader.word()? });
        }
        let mut message = Self { header, questions, answers: Vec::new(), rcode: header.rcode(), is_whole: false };
        message.is_whole = message.read_records(&mut reader).is_some() && reader.at == bytes.len();
        Some(message)
    }

    /// Whether it can be nothing else: a plausible header and question, and all that it counts.
    pub(super) fn is_certain(&self) -> bool {
        let known_class = |question: &Question| matches!(question.class & 0x7fff, 1 | 3 | 4 | 254 | 255);
        self.is_whole
            && self.header.is_plausible()
            && !self.questions.is_empty()
            && self.questions.iter().all(known_class)
    }

    fn read_records(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let Header { answers, authorities, additionals, .. } = self.header;
        let total = usize::from(answers) + usize::from(authorities) + usize::from(additionals);
        for index in 0..total {
            if index >= RECORDS_MAX {
                return None;
            }
            let name = reader.name()?;
            let (kind, _, ttl, length) = (reader.word()?, reader.word()?, reader.long()?, usize::from(reader.word()?));
            let data = reader.at;
            reader.at = data.checked_add(length).filter(|end| *end <= reader.bytes.len())?;
            if kind == OPT {
                self.rcode |= u16::from(ttl.to_be_bytes()[0]) << 4;
            }
            if index < usize::from(answers) {
                let data = Reader { bytes: reader.bytes.get(..reader.at)?, at: data }.data(kind).unwrap_or_default();
                self.answers.push(Record { name, kind, ttl, data });
            }
        }
        Some(())
    }
}

/// Where a message has what rows do not show: names and data of the sections behind the answers. What cannot be read is not shown
/// either.
pub(super) fn hidden(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut hidden = Vec::new();
    let mut reader = Reader { bytes, at: 0 };
    if hide_sections(&mut reader, &mut hidden).is_none() || reader.at < bytes.len() {
        hidden.push(reader.at..bytes.len());
    }
    hidden
}

fn hide_sections(reader: &mut Reader<'_>, hidden: &mut Vec<Range<usize>>) -> Option<()> {
    let header = Header::read(reader.bytes)?;
    reader.at = HEADER_BYTES;
    for _ in 0..header.questions {
        reader.name()?;
        reader.at = reader.at.checked_add(4).filter(|end| *end <= reader.bytes.len())?;
    }
    let (answers, others) =
        (usize::from(header.answers), usize::from(header.authorities) + usize::from(header.additionals));
    for index in 0..answers + others {
        let is_shown = index < answers;
        let start = reader.at;
        reader.name()?;
        if !is_shown {
            hide_labels(reader.bytes, start..reader.at, hidden);
        }
        let fixed = reader.bytes.get(reader.at..reader.at.checked_add(10)?)?;
        let length = usize::from(u16::from_be_bytes(*fixed.last_chunk()?));
        let data = reader.at + fixed.len();
        reader.at = data.checked_add(length).filter(|end| *end <= reader.bytes.len())?;
        if !is_shown {
            hidden.push(data..reader.at);
        }
    }
    Some(())
}

/// The texts of the labels of a name; their lengths and pointers stay.
fn hide_labels(bytes: &[u8], name: Range<usize>, hidden: &mut Vec<Range<usize>>) {
    let mut at = name.start;
    while let Some(&length) = bytes.get(at).filter(|_| at < name.end) {
        if length == 0 || length >> 6 != 0 {
            return;
        }
        let end = at + 1 + usize::from(length);
        hidden.push(at + 1..end.min(name.end));
        at = end;
    }
}

struct Reader<'a> {
    /// The whole message, since pointers lead back into it.
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn word(&mut self) -> Option<u16> {
        let word = u16::from_be_bytes(*self.bytes.get(self.at..)?.first_chunk()?);
        self.at += 2;
        Some(word)
    }

    fn long(&mut self) -> Option<u32> {
        Some(u32::from(self.word()?) << 16 | u32::from(self.word()?))
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let (mut at, mut end, mut wire, mut pointers) = (self.at, None, 0, 0);
        loop {
            let length = usize::from(*self.bytes.get(at)?);
            match length >> 6 {
                0 if length == 0 => break,
                0 => {
                    let label = self.bytes.get(at + 1..at + 1 + length)?;
                    wire += 1 + length;
                    if wire > NAME_MAX {
                        return None;
                    }
                    if !name.is_empty() {
                        name.push('.');
                    }
                    push_label(&mut name, label);
                    at += 1 + length;
                }
                3 => {
                    let to = (length & 0x3f) << 8 | usize::from(*self.bytes.get(at + 1)?);
                    pointers += 1;
                    if to >= at || pointers > POINTERS_MAX {
                        return None;
                    }
                    end = end.or(Some(at + 2));
                    at = to;
                }
                _ => return None,
            }
        }
        self.at = end.unwrap_or(at + 1);
        Some(if name.is_empty() { ".".to_owned() } else { name })
    }

    /// The data of a record, which ends where the bytes end.
    fn data(mut self, kind: u16) -> Option<String> {
        match kind {
            A => Some(Ipv4Addr::from(*self.rest().first_chunk::<4>()?).to_string()),
            AAAA => Some(Ipv6Addr::from(*self.rest().first_chunk::<16>()?).to_string()),
            NS | CNAME | PTR | DNAME => self.name(),
            MX => Some(format!("{} {}", self.word()?, self.name()?)),
            SRV => Some(format!("{} {} {} {}", self.word()?, self.word()?, self.word()?, self.name()?)),
            SOA => {
                let (server, mailbox) = (self.name()?, self.name()?);
                let numbers = [self.long()?, self.long()?, self.long()?, self.long()?, self.long()?];
                let numbers = numbers.map(|number| number.to_string()).join(" ");
                Some(format!("{server} {mailbox} {numbers}"))
            }
            TXT => Some(self.texts()),
            _ => {
                let rest = self.rest();
                let mut data = format!("\\# {} ", rest.len());
                for byte in rest.iter().take(DATA_MAX / 2) {
                    let _ = write!(data, "{byte:02x}");
                }
                Some(data)
            }
        }
    }

    fn texts(&mut self) -> String {
        let mut texts = String::new();
        while let Some((length, rest)) = self.rest().split_first() {
            let text = rest.get(..usize::from(*length)).unwrap_or(rest);
            if !texts.is_empty() {
                texts.push(' ');
            }
            let text = text.get(..DATA_MAX.saturating_sub(texts.len())).unwrap_or(text);
            let _ = write!(texts, "{:?}", String::from_utf8_lossy(text));
            if texts.len() >= DATA_MAX {
                break;
            }
            self.at += 1 + text.len();
        }
        texts
    }
}

/// Bytes that a name cannot show are escaped as in zone files (RFC 1035, 5.1).
fn push_label(name: &mut String, label: &[u8]) {
    for byte in label {
        match byte {
            b'.' | b'\\' => {
                name.push('\\');
                name.push(char::from(*byte));
            }
            0x21..=0x7e => name.push(char::from(*byte)),
            _ => {
                let _ = write!(name, "\\{byte:03}");
            }
        }
    }
}

pub(super) const A: u16 = 1;
const NS: u16 = 2;
pub(super) const CNAME: u16 = 5;
const SOA: u16 = 6;
const PTR: u16 = 12;
const MX: u16 = 15;
const TXT: u16 = 16;
pub(super) const AAAA: u16 = 28;
const SRV: u16 = 33;
const DNAME: u16 = 39;
const OPT: u16 = 41;

/// Types by the names of IANA's registry.
const KINDS: [(u16, &str); 27] = [
    (A, "A"),
    (NS, "NS"),
    (CNAME, "CNAME"),
    (SOA, "SOA"),
    (PTR, "PTR"),
    (13, "HINFO"),
    (MX, "MX"),
    (TXT, "TXT"),
    (AAAA, "AAAA"),
    (SRV, "SRV"),
    (35, "NAPTR"),
    (DNAME, "DNAME"),
    (OPT, "OPT"),
    (43, "DS"),
    (44, "SSHFP"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (50, "NSEC3"),
    (52, "TLSA"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (99, "SPF"),
    (251, "IXFR"),
    (252, "AXFR"),
    (255, "ANY"),
    (257, "CAA"),
];

pub(super) fn kind_name(kind: u16) -> String {
    let known = KINDS.iter().find(|(number, _)| *number == kind);
    known.map_or_else(|| format!("TYPE{kind}"), |(_, name)| (*name).to_owned())
}

/// Response codes by the names of IANA's registry.
pub(super) fn rcode_name(rcode: u16) -> String {
    const NAMES: [&str; 12] = [
        "NOERROR",
        "FORMERR",
        "SERVFAIL",
        "NXDOMAIN",
        "NOTIMP",
        "REFUSED",
        "YXDOMAIN",
        "YXRRSET",
        "NXRRSET",
        "NOTAUTH",
        "NOTZONE",
        "DSOTYPENI",
    ];
    match (NAMES.get(usize::from(rcode)), rcode) {
        (Some(name), _) => (*name).to_owned(),
        (None, 16) => "BADVERS".to_owned(),
        (None, 23) => "BADCOOKIE".to_owned(),
        (None, _) => format!("RCODE{rcode}"),
    }
}

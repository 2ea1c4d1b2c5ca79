//! The bodies of the messages that are decoded: their fields in order, and the versions that have them.

/// How a field is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Int8,
    Int16,
    Int32,
    Int64,
    Uuid,
    /// A text, or none.
    Text,
    /// Bytes, or none. Never shown.
    Bytes,
    /// Numbers of 32 bits.
    Ints,
    Array(&'static [Field]),
}

/// What a field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Nothing that is shown.
    Other,
    Acks,
    Group,
    Member,
    Generation,
    ProtocolType,
    Topic,
    TopicId,
    Partition,
    Records,
    Error,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) kind: Kind,
    pub(super) what: What,
    since: i16,
    until: i16,
}

impl Field {
    const fn since(self, version: i16) -> Self {
        Self { since: version, ..self }
    }

    const fn until(self, version: i16) -> Self {
        Self { until: version, ..self }
    }

    pub(super) fn is_in(&self, version: i16) -> bool {
        (self.since..=self.until).contains(&version)
    }
}

const fn shown(kind: Kind, what: What) -> Field {
    Field { kind, what, since: 0, until: i16::MAX }
}

const fn other(kind: Kind) -> Field {
    shown(kind, What::Other)
}

const fn array(fields: &'static [Field]) -> Field {
    other(Kind::Array(fields))
}

/// The body of a message.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) fields: &'static [Field],
    /// The first version with short lengths and tagged fields.
    pub(super) flexible: i16,
    /// Tagged fields stand in the header of its answers, too.
    pub(super) tags_in_header: bool,
    /// What follows the fields is of no interest.
    pub(super) is_open: bool,
}

const fn schema(flexible: i16, fields: &'static [Field]) -> Schema {
    Schema { fields, flexible, tags_in_header: true, is_open: false }
}

const GROUP: Field = shown(Kind::Text, What::Group);
const MEMBER: Field = shown(Kind::Text, What::Member);
const GENERATION: Field = shown(Kind::Int32, What::Generation);
const TOPIC: Field = shown(Kind::Text, What::Topic);
const TOPIC_ID: Field = shown(Kind::Uuid, What::TopicId);
const PARTITION: Field = shown(Kind::Int32, What::Partition);
const RECORDS: Field = shown(Kind::Bytes, What::Records);
const ERROR: Field = shown(Kind::Int16, What::Error);
const INT8: Field = other(Kind::Int8);
const INT16: Field = other(Kind::Int16);
const INT32: Field = other(Kind::Int32);
const INT64: Field = other(Kind::Int64);
const INTS: Field = other(Kind::Ints);
const TEXT: Field = other(Kind::Text);
const BYTES: Field = other(Kind::Bytes);

pub(super) static PRODUCE_REQUEST: Schema = schema(
    9,
    &[
        TEXT.since(3),
        shown(Kind::Int16, What::Acks),
        INT32,
        array(&[TOPIC.until(12), TOPIC_ID.since(13), array(&[PARTITION, RECORDS])]),
    ],
);

pub(super) static PRODUCE_ANSWER: Schema = schema(
    9,
    &[
        array(&[
            TOPIC.until(12),
            TOPIC_ID.since(13),
            array(&[
                PARTITION,
                ERROR,
                INT64,
                INT64.since(2),
                INT64.since(5),
                array(&[INT32, TEXT]).since(8),
                TEXT.since(8),
            ]),
        ]),
        INT32.since(1),
    ],
);

pub(super) static FETCH_REQUEST: Schema = schema(
    12,
    &[
        INT32.until(14),
        INT32,
        INT32,
        INT32.since(3),
        INT8.since(4),
        INT32.since(7),
        INT32.since(7),
        array(&[
            TOPIC.until(12),
            TOPIC_ID.since(13),
            array(&[PARTITION, INT32.since(9), INT64, INT32.since(12), INT64.since(5), INT32]),
        ]),
        // Partitions that are fetched no more.
        array(&[TEXT.until(12), other(Kind::Uuid).since(13), INTS]).since(7),
        TEXT.since(11),
    ],
);

pub(super) static FETCH_ANSWER: Schema = schema(
    12,
    &[
        INT32.since(1),
        ERROR.since(7),
        INT32.since(7),
        array(&[
            TOPIC.until(12),
            TOPIC_ID.since(13),
            array(&[
                PARTITION,
                ERROR,
                INT64,
                INT64.since(4),
                INT64.since(5),
                array(&[INT64, INT64]).since(4),
                INT32.since(11),
                RECORDS,
            ]),
        ]),
    ],
);

pub(super) static METADATA_REQUEST: Schema =
    schema(9, &[array(&[TOPIC_ID.since(10), TOPIC]), INT8.since(4), INT8.since(8).until(10), INT8.since(8)]);

pub(super) static METADATA_ANSWER: Schema = schema(
    9,
    &[
        INT32.since(3),
        array(&[INT32, TEXT, INT32, TEXT.since(1)]),
        TEXT.since(2),
        INT32.since(1),
        array(&[
            ERROR,
            TOPIC,
            TOPIC_ID.since(10),
            INT8.since(1),
            array(&[INT16, INT32, INT32, INT32.since(7), INTS, INTS, INTS.since(5)]),
            INT32.since(8),
        ]),
        INT32.since(8).until(10),
        ERROR.since(13),
    ],
);

pub(super) static OFFSET_COMMIT_REQUEST: Schema = schema(
    8,
    &[
        GROUP,
        GENERATION.since(1),
        MEMBER.since(1),
        TEXT.since(7),
        INT64.since(2).until(4),
        array(&[
            TOPIC.until(9),
            TOPIC_ID.since(10),
            array(&[PARTITION, INT64, INT32.since(6), INT64.since(1).until(1), TEXT]),
        ]),
    ],
);

pub(super) static OFFSET_COMMIT_ANSWER: Schema =
    schema(8, &[INT32.since(3), array(&[TOPIC.until(9), TOPIC_ID.since(10), array(&[PARTITION, ERROR])])]);

pub(super) static JOIN_GROUP_REQUEST: Schema = schema(
    6,
    &[
        GROUP,
        INT32,
        INT32.since(1),
        MEMBER,
        TEXT.since(5),
        shown(Kind::Text, What::ProtocolType),
        array(&[TEXT, BYTES]),
        TEXT.since(8),
    ],
);

pub(super) static JOIN_GROUP_ANSWER: Schema = schema(
    6,
    &[
        INT32.since(2),
        ERROR,
        GENERATION,
        shown(Kind::Text, What::ProtocolType).since(7),
        TEXT,
        TEXT,
        INT8.since(9),
        MEMBER,
        array(&[TEXT, TEXT.since(5), BYTES]),
    ],
);

pub(super) static SYNC_GROUP_REQUEST: Schema = schema(
    4,
    &[
        GROUP,
        GENERATION,
        MEMBER,
        TEXT.since(3),
        shown(Kind::Text, What::ProtocolType).since(5),
        TEXT.since(5),
        array(&[TEXT, BYTES]),
    ],
);

pub(super) static SYNC_GROUP_ANSWER: Schema =
    schema(4, &[INT32.since(1), ERROR, shown(Kind::Text, What::ProtocolType).since(5), TEXT.since(5), BYTES]);

pub(super) static HEARTBEAT_REQUEST: Schema = schema(4, &[GROUP, GENERATION, MEMBER, TEXT.since(3)]);

pub(super) static HEARTBEAT_ANSWER: Schema = schema(4, &[INT32.since(1), ERROR]);

/// A broker answers a version that it does not know in the form of version 0: only what all have is read.
pub(super) static API_VERSIONS_REQUEST: Schema = Schema { is_open: true, ..schema(3, &[]) };

pub(super) static API_VERSIONS_ANSWER: Schema =
    Schema { is_open: true, tags_in_header: false, ..schema(i16::MAX, &[ERROR]) };

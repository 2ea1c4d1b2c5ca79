//! The tables of exchanges, one for each supported protocol.

use trilobite_protocols::Name;
use trilobite_schema::{
    CONNECTION, DNS_EVENTS, EXTENSIONS, HTTP_EVENTS, KAFKA_EVENTS, MYSQL_EVENTS, PGSQL_EVENTS, REDIS_EVENTS,
    TableSchema,
};

/// A table of exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `http_events`.
    Http,
    /// `pgsql_events`.
    Pgsql,
    /// `redis_events`.
    Redis,
    /// `dns_events`.
    Dns,
    /// `mysql_events`.
    Mysql,
    /// `kafka_events.beta`.
    Kafka,
}

impl Table {
    /// Every table of exchanges.
    pub const ALL: [Self; 6] = [Self::Http, Self::Pgsql, Self::Redis, Self::Dns, Self::Mysql, Self::Kafka];

    /// The protocol whose exchanges it has; of those of HTTP the first.
    pub fn protocol(self) -> Name {
        match self {
            Self::Http => Name::Http,
            Self::Pgsql => Name::Pgsql,
            Self::Redis => Name::Redis,
            Self::Dns => Name::Dns,
            Self::Mysql => Name::Mysql,
            Self::Kafka => Name::Kafka,
        }
    }

    /// The table of a protocol's exchanges.
    pub(crate) fn of_protocol(name: Name) -> Option<Self> {
        match name {
            Name::Http2 | Name::Grpc => Some(Self::Http),
            _ => Self::ALL.into_iter().find(|table| table.protocol() == name),
        }
    }

    /// Its columns.
    pub fn schema(self) -> &'static TableSchema {
        match self {
            Self::Http => &HTTP_EVENTS,
            Self::Pgsql => &PGSQL_EVENTS,
            Self::Redis => &REDIS_EVENTS,
            Self::Dns => &DNS_EVENTS,
            Self::Mysql => &MYSQL_EVENTS,
            Self::Kafka => &KAFKA_EVENTS,
        }
    }

    /// Number of the first of its own columns.
    pub(crate) const OWN: usize = CONNECTION.len();

    /// Number of the column `latency`.
    pub(crate) fn latency(self) -> usize {
        Self::OWN + self.schema().own.len()
    }

    /// Number of the first of our columns.
    pub(crate) fn extension(self) -> usize {
        self.latency() + 1
    }

    /// Number of the first of our columns of this table alone.
    pub(crate) fn own_extension(self) -> usize {
        self.extension() + EXTENSIONS.len()
    }
}

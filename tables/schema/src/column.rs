//! A column: its name, its type, and what its values mean.

/// The types that columns have. There are no nulls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// BOOLEAN.
    Boolean,
    /// INT64.
    Int64,
    /// UINT128.
    UInt128,
    /// FLOAT64.
    Float64,
    /// STRING.
    String,
    /// TIME64NS; in rows of requests, of the boot clock.
    Time64Ns,
}

impl ColumnType {
    /// Pixie's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::Int64 => "INT64",
            Self::UInt128 => "UINT128",
            Self::Float64 => "FLOAT64",
            Self::String => "STRING",
            Self::Time64Ns => "TIME64NS",
        }
    }

    /// Its number in Pixie's `DataType`.
    pub fn number(self) -> i32 {
        match self {
            Self::Boolean => 1,
            Self::Int64 => 2,
            Self::UInt128 => 3,
            Self::Float64 => 4,
            Self::String => 5,
            Self::Time64Ns => 6,
        }
    }
}

macro_rules! semantic_types {
    ($($variant:ident = $number:literal $name:literal),+ $(,)?) => {
        /// What a value means, beside its type.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum SemanticType {
            $(#[doc = $name] $variant),+
        }

        impl SemanticType {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Pixie's name of it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Its number in Pixie's `SemanticType`.
            pub fn number(self) -> i32 {
                match self { $(Self::$variant => $number),+ }
            }
        }
    };
}

semantic_types! {
    None = 1 "ST_NONE",
    TimeNs = 2 "ST_TIME_NS",
    AgentUid = 100 "ST_AGENT_UID",
    Asid = 101 "ST_ASID",
    Upid = 200 "ST_UPID",
    ServiceName = 300 "ST_SERVICE_NAME",
    PodName = 400 "ST_POD_NAME",
    PodPhase = 401 "ST_POD_PHASE",
    PodStatus = 402 "ST_POD_STATUS",
    NodeName = 500 "ST_NODE_NAME",
    ContainerName = 600 "ST_CONTAINER_NAME",
    ContainerState = 601 "ST_CONTAINER_STATE",
    ContainerStatus = 602 "ST_CONTAINER_STATUS",
    NamespaceName = 700 "ST_NAMESPACE_NAME",
    Bytes = 800 "ST_BYTES",
    Percent = 900 "ST_PERCENT",
    DurationNs = 901 "ST_DURATION_NS",
    ThroughputPerNs = 902 "ST_THROUGHPUT_PER_NS",
    ThroughputBytesPerNs = 903 "ST_THROUGHPUT_BYTES_PER_NS",
    Quantiles = 1000 "ST_QUANTILES",
    DurationNsQuantiles = 1001 "ST_DURATION_NS_QUANTILES",
    IpAddress = 1100 "ST_IP_ADDRESS",
    Port = 1200 "ST_PORT",
    HttpRequestMethod = 1300 "ST_HTTP_REQ_METHOD",
    HttpResponseStatus = 1400 "ST_HTTP_RESP_STATUS",
    HttpResponseMessage = 1500 "ST_HTTP_RESP_MESSAGE",
    ScriptReference = 3000 "ST_SCRIPT_REFERENCE",
}

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: ColumnType,
    /// Its meaning.
    pub semantic: SemanticType,
    /// Pixie's decoder of its numbers, if they stand for names.
    pub decoder: Option<&'static str>,
}

impl Column {
    /// A column whose numbers, if it has any, stand for themselves.
    pub const fn new(name: &'static str, kind: ColumnType, semantic: SemanticType) -> Self {
        Self { name, kind, semantic, decoder: None }
    }
}

pub(crate) const fn text(name: &'static str) -> Column {
    Column::new(name, ColumnType::String, SemanticType::None)
}

pub(crate) const fn number(name: &'static str) -> Column {
    Column::new(name, ColumnType::Int64, SemanticType::None)
}

pub(crate) const fn truth(name: &'static str) -> Column {
    Column::new(name, ColumnType::Boolean, SemanticType::None)
}

pub(crate) const fn size(name: &'static str) -> Column {
    Column::new(name, ColumnType::Int64, SemanticType::Bytes)
}

pub(crate) const fn duration(name: &'static str) -> Column {
    Column::new(name, ColumnType::Int64, SemanticType::DurationNs)
}

pub(crate) const fn decoded(name: &'static str, decoder: &'static str) -> Column {
    Column { decoder: Some(decoder), ..number(name) }
}

pub(crate) const TIME: Column = Column::new("time_", ColumnType::Time64Ns, SemanticType::None);
pub(crate) const UPID: Column = Column::new("upid", ColumnType::UInt128, SemanticType::Upid);
pub(crate) const REMOTE_ADDR: Column = Column::new("remote_addr", ColumnType::String, SemanticType::IpAddress);
pub(crate) const REMOTE_PORT: Column = Column::new("remote_port", ColumnType::Int64, SemanticType::Port);
pub(crate) const LOCAL_ADDR: Column = Column::new("local_addr", ColumnType::String, SemanticType::IpAddress);
pub(crate) const LOCAL_PORT: Column = Column::new("local_port", ColumnType::Int64, SemanticType::Port);
pub(crate) const TRACE_ROLE: Column = number("trace_role");

//! Functions that make tables: what is known of agents, tables and functions themselves (Pixie's UDTFs).

use trilobite_schema::{
    Column,
    ColumnType::{self, Boolean, Int64, String, Time64Ns, UInt128},
    SemanticType,
};

/// A function that makes a table.
#[derive(Debug, PartialEq, Eq)]
pub struct Generator {
    /// Its name, without `px.`.
    pub name: &'static str,
    /// The columns of the table.
    pub columns: &'static [Column],
    /// Arguments that may be given, by name.
    pub arguments: &'static [(&'static str, ColumnType)],
}

const fn column(name: &'static str, kind: ColumnType) -> Column {
    Column::new(name, kind, SemanticType::None)
}

const FUNCTION_LIST: &[Column] = &[column("name", String), column("return_type", String), column("args", String)];

/// All of them.
pub static GENERATORS: &[Generator] = &[
    Generator {
        name: "GetAgentStatus",
        columns: &[
            column("agent_id", UInt128),
            column("asid", Int64),
            column("hostname", String),
            column("ip_address", String),
            column("agent_state", String),
            column("create_time", Time64Ns),
            column("last_heartbeat_ns", Int64),
            column("kernel_headers_installed", Boolean),
        ],
        arguments: &[("include_kelvin", Boolean)],
    },
    Generator {
        name: "GetTables",
        columns: &[column("table_name", String), column("table_desc", String)],
        arguments: &[],
    },
    Generator {
        name: "GetSchemas",
        columns: &[
            column("table_name", String),
            column("column_name", String),
            column("column_type", String),
            column("pattern_type", String),
            column("column_desc", String),
        ],
        arguments: &[],
    },
    Generator {
        name: "GetTracepointStatus",
        columns: &[
            column("tracepoint_id", UInt128),
            column("name", String),
            column("state", String),
            column("status", String),
            column("output_tables", String),
        ],
        arguments: &[],
    },
    Generator { name: "GetUDFList", columns: FUNCTION_LIST, arguments: &[] },
    Generator { name: "GetUDAList", columns: FUNCTION_LIST, arguments: &[] },
    Generator {
        name: "GetUDTFList",
        columns: &[
            column("name", String),
            column("executor", String),
            column("init_args", String),
            column("output_relation", String),
        ],
        arguments: &[],
    },
    Generator {
        name: "GetProfilerSamplingPeriodMS",
        columns: &[column("asid", Int64), column("profiler_sampling_period_ms", Int64)],
        arguments: &[],
    },
    Generator {
        name: "GetLinuxHeadersStatus",
        columns: &[column("asid", Int64), column("kernel_headers_installed", Boolean)],
        arguments: &[],
    },
    Generator { name: "_HeapGrowthStacks", columns: &[column("asid", Int64), column("heap", String)], arguments: &[] },
];

/// The one of this name.
pub(crate) fn find_generator(name: &str) -> Option<&'static Generator> {
    GENERATORS.iter().find(|generator| generator.name == name)
}

//! What clients ask, by the first byte of a packet, and what answers it.

/// What the server sends for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Nothing.
    None,
    /// One packet: OK, its old form EOF, or an error.
    Status,
    /// Any number of results: OK, rows, or an error.
    Results,
    /// A statement's id, its parameters and columns.
    Prepared,
    /// Descriptions of columns.
    Columns,
    /// Rows of a cursor.
    Rows,
    /// One packet of text.
    Text,
    /// Authentication, up to OK or an error.
    Login,
    /// Events without an end: replication.
    Endless,
    /// The command was not seen.
    Unknown,
}

macro_rules! commands {
    ($($variant:ident = $byte:literal $name:literal $reply:ident,)*) => {
        /// A command. Its name is the one of the server's general log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Command {
            $($variant = $byte,)*
        }

        impl Command {
            pub(super) fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($byte => Some(Self::$variant),)*
                    _ => None,
                }
            }

            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What the server answers it with.
            pub(super) fn reply(self) -> Reply {
                match self {
                    $(Self::$variant => Reply::$reply,)*
                }
            }
        }
    };
}

commands! {
    Quit = 0x01 "Quit" None,
    InitDb = 0x02 "Init DB" Status,
    Query = 0x03 "Query" Results,
    FieldList = 0x04 "Field List" Columns,
    CreateDb = 0x05 "Create DB" Status,
    DropDb = 0x06 "Drop DB" Status,
    Refresh = 0x07 "Refresh" Status,
    Shutdown = 0x08 "Shutdown" Status,
    Statistics = 0x09 "Statistics" Text,
    ProcessInfo = 0x0a "Processlist" Results,
    // Never sent: the general log has a login under it.
    Connect = 0x0b "Connect" Login,
    ProcessKill = 0x0c "Kill" Status,
    Debug = 0x0d "Debug" Status,
    Ping = 0x0e "Ping" Status,
    ChangeUser = 0x11 "Change user" Login,
    BinlogDump = 0x12 "Binlog Dump" Endless,
    TableDump = 0x13 "Table Dump" Endless,
    RegisterReplica = 0x15 "Register Slave" Status,
    Prepare = 0x16 "Prepare" Prepared,
    Execute = 0x17 "Execute" Results,
    SendLongData = 0x18 "Long Data" None,
    CloseStatement = 0x19 "Close stmt" None,
    ResetStatement = 0x1a "Reset stmt" Status,
    SetOption = 0x1b "Set option" Status,
    Fetch = 0x1c "Fetch" Rows,
    BinlogDumpGtid = 0x1e "Binlog Dump GTID" Endless,
    ResetConnection = 0x1f "Reset connection" Status,
    // MariaDB: one statement with many rows of parameters.
    BulkExecute = 0xfa "Bulk execute" Results,
}

impl Command {
    pub(super) fn byte(self) -> u8 {
        self as u8
    }

    /// Whether a client sends it.
    pub(super) fn is_known(byte: u8) -> bool {
        Self::from_byte(byte).is_some_and(|command| command != Self::Connect)
    }

    /// Whether it is about a prepared statement, whose id stands behind the command.
    pub(super) fn has_statement_id(self) -> bool {
        matches!(self, Self::Execute | Self::BulkExecute | Self::Fetch | Self::ResetStatement | Self::CloseStatement)
    }
}

/// The name that the server's general log has for a command, e.g. `Query`; `?` where the number is none.
pub fn command_name(byte: u8) -> &'static str {
    Command::from_byte(byte).map_or("?", Command::name)
}

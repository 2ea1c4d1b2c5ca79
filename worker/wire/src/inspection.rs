//! What the agent asks about one ELF file of a pod, and what the worker answers: where a TLS library begins and ends its functions.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Functions that one answer describes.
pub const FUNCTIONS_MAX: usize = 16;
/// Places at which one function returns.
pub const RETURNS_MAX: usize = 128;

/// A function of OpenSSL and its descendants that sees plain text, or begins or ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TlsFunction {
    /// `SSL_read`
    Read,
    /// `SSL_read_ex`
    ReadEx,
    /// `SSL_write`
    Write,
    /// `SSL_write_ex`
    WriteEx,
    /// `SSL_new`
    New,
    /// `SSL_free`
    Free,
    /// `SSL_clear`
    Clear,
}

impl TlsFunction {
    /// All, in order.
    pub const ALL: [Self; 7] =
        [Self::Read, Self::ReadEx, Self::Write, Self::WriteEx, Self::New, Self::Free, Self::Clear];

    /// Its symbol.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Read => "SSL_read",
            Self::ReadEx => "SSL_read_ex",
            Self::Write => "SSL_write",
            Self::WriteEx => "SSL_write_ex",
            Self::New => "SSL_new",
            Self::Free => "SSL_free",
            Self::Clear => "SSL_clear",
        }
    }
}

/// A TLS implementation in a program or a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TlsImplementation {
    /// OpenSSL 1.0, and LibreSSL.
    OpenSsl10,
    /// OpenSSL 1.1.
    OpenSsl11,
    /// OpenSSL 3 and later.
    OpenSsl3,
    /// BoringSSL, and AWS-LC.
    BoringSsl,
    /// OpenSSL inside of a program without symbols.
    StaticOpenSsl,
    /// BoringSSL inside of a program without symbols.
    StaticBoringSsl,
    /// Go's crypto/tls.
    Go,
    /// rustls.
    Rustls,
    /// Java's JSSE.
    Jsse,
    /// GnuTLS.
    GnuTls,
    /// NSS.
    Nss,
    /// wolfSSL.
    WolfSsl,
    /// Mbed TLS.
    MbedTls,
    /// s2n-tls.
    S2n,
}

impl fmt::Display for TlsImplementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenSsl10 => "openssl-1.0",
            Self::OpenSsl11 => "openssl-1.1",
            Self::OpenSsl3 => "openssl-3",
            Self::BoringSsl => "boringssl",
            Self::StaticOpenSsl => "openssl-static",
            Self::StaticBoringSsl => "boringssl-static",
            Self::Go => "go",
            Self::Rustls => "rustls",
            Self::Jsse => "jsse",
            Self::GnuTls => "gnutls",
            Self::Nss => "nss",
            Self::WolfSsl => "wolfssl",
            Self::MbedTls => "mbedtls",
            Self::S2n => "s2n",
        })
    }
}

/// Where a function is in its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InspectedFunction {
    /// Which function.
    pub function: TlsFunction,
    /// Offset in the file of its first instruction.
    pub entry: u64,
    /// Offsets of the instructions by which it returns; empty if its code could not be read.
    pub returns: Vec<u64>,
    /// Jumps out of the function, by which it returns at none of `returns`.
    pub tail_jumps: u32,
}

/// What is known of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inspection {
    /// The functions that can be followed, each at most once.
    pub functions: Vec<InspectedFunction>,
    /// The TLS implementation; none if there is no sign of one.
    pub tls: Option<TlsImplementation>,
    /// The file has no symbols but those by which it is loaded.
    pub is_stripped: bool,
}

impl Inspection {
    /// Reads and writes can be followed.
    pub fn is_visible(&self) -> bool {
        let has = |wanted: &[TlsFunction]| self.functions.iter().any(|found| wanted.contains(&found.function));
        has(&[TlsFunction::Read, TlsFunction::ReadEx]) && has(&[TlsFunction::Write, TlsFunction::WriteEx])
    }

    /// It has no more than an answer may have. The agent does not trust the worker.
    pub fn is_within_limits(&self) -> bool {
        self.functions.len() <= FUNCTIONS_MAX
            && self.functions.iter().all(|function| function.returns.len() <= RETURNS_MAX)
    }
}

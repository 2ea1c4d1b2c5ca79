//! The TLS implementation in a file: known by symbols that only one library defines, and inside of a program by texts.

use std::io::{Read, Seek};

use memchr::memmem::Finder;
use trilobite_worker_wire::TlsImplementation;

use super::symbols::Symbols;
use crate::elf::ElfFile;

/// Bytes of a section in which texts are searched.
const SEARCHED_BYTES_MAX: u64 = 256 << 20;
/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// Symbols by which a library is known, the more special one first: BoringSSL also has names of OpenSSL 3, and that of 1.1.
const MARKERS: [(&str, TlsImplementation); 11] = [
    ("SSL_CTX_set_custom_verify", TlsImplementation::BoringSsl),
    ("SSL_get1_peer_certificate", TlsImplementation::OpenSsl3),
    ("OPENSSL_init_ssl", TlsImplementation::OpenSsl11),
    ("SSL_library_init", TlsImplementation::OpenSsl10),
    ("gnutls_record_send", TlsImplementation::GnuTls),
    ("SSL_ImportFD", TlsImplementation::Nss),
    ("wolfSSL_read", TlsImplementation::WolfSsl),
    ("mbedtls_ssl_read", TlsImplementation::MbedTls),
    ("s2n_send", TlsImplementation::S2n),
    // The JVM itself: its TLS is Java code.
    ("JVM_StartThread", TlsImplementation::Jsse),
    ("JVM_DefineClass", TlsImplementation::Jsse),
];

/// Names of these symbols.
pub(super) fn markers() -> impl Iterator<Item = &'static str> {
    MARKERS.into_iter().map(|(name, _)| name)
}

/// Texts of constants by which a library inside of a program is known: paths of its sources.
const TEXTS: [(&str, TlsImplementation); 3] = [
    ("/rustls-0.", TlsImplementation::Rustls),
    ("ssl/ssl_lib.cc", TlsImplementation::StaticBoringSsl),
    ("ssl/ssl_lib.c\0", TlsImplementation::StaticOpenSsl),
];
const CONSTANTS: [&str; 2] = [".rodata", ".data.rel.ro"];
/// Go's names of functions stay in stripped programs.
const GO_NAMES: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
const GO_TLS: &str = "crypto/tls.(*Conn).Write";

pub(super) fn implementation<R: Read + Seek>(
    elf: &mut ElfFile<R>,
    symbols: &Symbols,
    has_functions: bool,
) -> Option<TlsImplementation> {
    let marked = MARKERS.iter().find(|(name, _)| symbols.defined(name).is_some()).map(|(_, library)| *library);
    if has_functions {
        // Functions of these names and no other sign: an old or a changed OpenSSL.
        return marked.or(Some(TlsImplementation::OpenSsl10));
    }
    if GO_NAMES.into_iter().any(|section| has_text(elf, section, GO_TLS)) {
        return Some(TlsImplementation::Go);
    }
    marked.or_else(|| {
        let mut is_inside = |text| CONSTANTS.into_iter().any(|section| has_text(elf, section, text));
        TEXTS.into_iter().find(|(text, _)| is_inside(text)).map(|(_, library)| library)
    })
}

fn has_text<R: Read + Seek>(elf: &mut ElfFile<R>, section: &str, text: &str) -> bool {
    let Some(section) = elf.section(section).cloned() else { return false };
    let finder = Finder::new(text);
    // Pieces overlap, so that no text is cut.
    let step = PIECE - text.len();
    for start in (0..section.size.min(SEARCHED_BYTES_MAX)).step_by(step) {
        let piece = section.offset.checked_add(start).and_then(|at| elf.read_up_to(at, PIECE)).unwrap_or_default();
        if finder.find(&piece).is_some() {
            return true;
        }
        if piece.len() < PIECE {
            break;
        }
    }
    false
}

//! Inspections of real libraries and programs of this machine, of programs made for the purpose, and of damaged files.

use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    process::Command,
};

use proptest::prelude::*;
use trilobite_worker_wire::TlsImplementation;

use super::*;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("inspect-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The file of a program that is made of C; `flags` are those of the compiler.
fn compiled(name: &str, source: &str, flags: &[&str]) -> Vec<u8> {
    let folder = folder(name);
    fs::write(folder.join("main.c"), source).unwrap();
    let mut compiler = Command::new("cc");
    let status = compiler.args(["-O2", "-o", "program", "main.c"]).args(flags).current_dir(&folder).status().unwrap();
    assert!(status.success());
    let file = fs::read(folder.join("program")).unwrap();
    fs::remove_dir_all(folder).unwrap();
    file
}

fn library() -> Option<Vec<u8>> {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
    folders.iter().find_map(|folder| fs::read(Path::new(folder).join("libssl.so.3")).ok())
}

/// Each place is a return, and lies behind the entry of its function.
fn assert_returns(file: &[u8], inspection: &Inspection) {
    // Of the others only the entry is probed.
    let only_entered = [TlsFunction::Free, TlsFunction::Clear];
    for function in inspection.functions.iter().filter(|function| !only_entered.contains(&function.function)) {
        assert!(!function.returns.is_empty(), "{function:?}");
        for at in &function.returns {
            assert!(*at > function.entry && *at < function.entry + FUNCTION_BYTES_MAX, "{function:?}");
            if cfg!(target_arch = "x86_64") {
                assert_eq!(file[*at as usize], 0xc3, "{function:?}");
            }
        }
    }
}

#[test]
fn functions_of_openssl_are_found_with_their_returns() {
    let Some(file) = library() else { return };
    let inspection = inspect(Cursor::new(&file));
    let found: Vec<TlsFunction> = inspection.functions.iter().map(|function| function.function).collect();
    assert_eq!(found, TlsFunction::ALL);
    assert_eq!(inspection.tls, Some(TlsImplementation::OpenSsl3));
    assert!(inspection.is_visible() && inspection.is_within_limits());
    assert_returns(&file, &inspection);
}

#[test]
fn functions_inside_of_a_program_are_found_by_its_symbols() {
    const SOURCE: &str = "volatile int n; \
        __attribute__((noinline)) int SSL_read(void *s, void *b, int l) { if (l > n) return n + 1; return l; } \
        __attribute__((noinline)) int SSL_write(void *s, void *b, int l) { n += l; return l; } \
        const char *volatile sources = \"../deps/openssl/ssl/ssl_lib.c\"; \
        int main(int c, char **v) { return SSL_read(v, v, c) + SSL_write(v, v, c); }";
    let file = compiled("symbols", SOURCE, &[]);
    let inspection = inspect(Cursor::new(&file));
    assert!(inspection.is_visible() && !inspection.is_stripped, "{inspection:?}");
    assert_returns(&file, &inspection);
    // Without symbols no function is found, and the texts say why.
    let inspection = inspect(Cursor::new(compiled("stripped", SOURCE, &["-s"])));
    let expected = Inspection { functions: Vec::new(), tls: Some(TlsImplementation::StaticOpenSsl), is_stripped: true };
    assert_eq!(inspection, expected);
}

#[test]
fn program_that_uses_a_shared_library_has_no_functions_itself() {
    const SOURCE: &str = "int SSL_read(void *, void *, int); int main(void) { return SSL_read(0, 0, 0); }";
    let inspection = inspect(Cursor::new(compiled("imports", SOURCE, &["-Wl,--unresolved-symbols=ignore-all"])));
    assert_eq!((inspection.functions, inspection.tls), (Vec::new(), None));
}

#[test]
fn rustls_and_boringssl_inside_of_a_program_are_named() {
    let with_text = |name, text: &str| {
        let source = format!("const char *volatile text = \"{text}\"; int main(void) {{ return text[0]; }}");
        inspect(Cursor::new(compiled(name, &source, &["-s"]))).tls
    };
    assert_eq!(with_text("rustls", "/registry/src/rustls-0.23.20/src/conn.rs"), Some(TlsImplementation::Rustls));
    assert_eq!(with_text("boring", "external/boringssl/ssl/ssl_lib.cc"), Some(TlsImplementation::StaticBoringSsl));
    assert_eq!(with_text("none", "rustles in the leaves"), None);
}

#[test]
fn library_is_known_by_its_own_functions() {
    let with_function = |name, function: &str| {
        let source = format!("int {function}(int n) {{ return n; }}");
        inspect(Cursor::new(compiled(name, &source, &["-shared", "-fPIC"]))).tls
    };
    assert_eq!(with_function("gnutls", "gnutls_record_send"), Some(TlsImplementation::GnuTls));
    assert_eq!(with_function("jvm", "JVM_StartThread"), Some(TlsImplementation::Jsse));
    assert_eq!(with_function("wolf", "wolfSSL_read"), Some(TlsImplementation::WolfSsl));
    assert_eq!(with_function("other", "my_wolfSSL_reader"), None);
}

#[test]
fn go_is_named_if_it_contains_tls() {
    let build = |name: &str, body: &str| {
        let folder = folder(name);
        fs::write(folder.join("main.go"), format!("package main\n\n{body}\n")).unwrap();
        let mut go = Command::new("go");
        go.args(["build", "-ldflags", "-s -w", "-o", "program", "main.go"]).current_dir(&folder);
        let built = go.env("CGO_ENABLED", "0").status().is_ok_and(|status| status.success());
        let file = fs::read(folder.join("program"));
        fs::remove_dir_all(folder).unwrap();
        file.ok().filter(|_| built).map(|file| inspect(Cursor::new(file)).tls)
    };
    const WITH: &str =
        "import \"crypto/tls\"\n\nfunc main() { c, _ := tls.Dial(\"tcp\", \"reef:443\", nil); c.Write(nil) }";
    // Without Go there is nothing to inspect.
    let Some(with) = build("go-tls", WITH) else { return };
    assert_eq!(with, Some(TlsImplementation::Go));
    assert_eq!(build("go", "func main() { println(1) }"), Some(None));
}

#[test]
fn file_that_is_no_elf_has_nothing() {
    assert_eq!(inspect(Cursor::new(b"#!/bin/sh\n")), Inspection::default());
    assert_eq!(inspect(Cursor::new(b"")), Inspection::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_library_is_inspected_within_limits(changes in prop::collection::vec((any::<u32>(), any::<u8>()), 1..64)) {
        let mut file = compiled_once().clone();
        for (at, byte) in changes {
            // Half of the damage is in the headers.
            let length = if at & 1 == 0 { 64 } else { file.len() };
            let at = at as usize % length;
            file[at.max(6)] = byte;
        }
        let inspection = inspect(Cursor::new(file));
        prop_assert!(inspection.is_within_limits());
    }
}

fn compiled_once() -> &'static Vec<u8> {
    static FILE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    FILE.get_or_init(|| compiled("damaged", "int SSL_read(int n) { return n; } int main(void) { return 0; }", &[]))
}

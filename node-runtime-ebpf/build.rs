//! Compiles every `bpf/**/*.bpf.c` to an object in OUT_DIR, stripped of DWARF but not of BTF.
//! `BPF_CLANG` and `BPF_STRIP` name the tools; otherwise the newest of clang >= 16 that is installed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-env-changed=BPF_CLANG");
    println!("cargo:rerun-if-env-changed=BPF_STRIP");
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is set by cargo")?);
    let libbpf = env::var("DEP_BPF_INCLUDE").context("libbpf-sys says where its headers are")?;
    // The second name is Debian's folder of the machine's own UAPI headers, which `-target bpf` does not look into.
    let (arch, multiarch) = match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => ("x86", "x86_64-linux-gnu"),
        "aarch64" => ("arm64", "aarch64-linux-gnu"),
        other => bail!("no kernel programs for {other} yet"),
    };
    let clang = tool("BPF_CLANG", "clang")?;
    let strip = tool("BPF_STRIP", "llvm-strip")?;
    for source in sources(Path::new("bpf"))? {
        let name = source.file_name().context("a source has a name")?.to_string_lossy().replace(".bpf.c", ".bpf.o");
        let object = out.join(name);
        run(Command::new(&clang)
            .args([
                "-g",
                "-O2",
                "-target",
                "bpf",
                "-mcpu=v2",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-Wno-unused-parameter",
                "-Wno-missing-field-initializers",
            ])
            .arg(format!("-D__TARGET_ARCH_{arch}"))
            .args(["-I", "bpf/include", "-I", &libbpf, "-idirafter", &format!("/usr/include/{multiarch}"), "-c"])
            .arg(&source)
            .arg("-o")
            .arg(&object))?;
        run(Command::new(&strip).arg("-g").arg(&object))?;
    }
    Ok(())
}

fn sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.to_string_lossy().ends_with(".bpf.c") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn tool(variable: &str, name: &str) -> Result<String> {
    if let Ok(chosen) = env::var(variable) {
        return Ok(chosen);
    }
    let candidates = (16..=24).rev().map(|version| format!("{name}-{version}"));
    for candidate in candidates {
        if Command::new(&candidate).arg("--version").output().is_ok_and(|output| output.status.success()) {
            return Ok(candidate);
        }
    }
    bail!("no {name}-16 or newer is installed: apt-get install clang-16 llvm-16, or set {variable}")
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?} did not start"))?;
    if !status.success() {
        bail!("{command:?} failed");
    }
    Ok(())
}

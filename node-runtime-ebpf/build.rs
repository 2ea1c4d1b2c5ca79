//! Compiles every `bpf/**/*.bpf.c` to an object in OUT_DIR, stripped of DWARF but not of BTF, and generates from the C
//! sources: types and constants of `bpf/include/contract.h` (bindgen), and a skeleton for each object that is loaded as a whole.
//! `BPF_CLANG` and `BPF_STRIP` name the tools; otherwise the newest of clang >= 16 that is installed. bindgen loads the newest
//! libclang that is installed, or the one in `LIBCLANG_PATH`.

#[path = "build/bindings.rs"]
mod bindings;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use libbpf_cargo::SkeletonBuilder;

/// Loaded once for each hook, with a name that is chosen at run time: handles of a fixed type do not fit.
/// Built once for each number of words in a row.
const HOOK: &str = "hook";
const HOOK_WORDS: [u32; 3] = [1, 4, 16];

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-env-changed=BPF_CLANG");
    println!("cargo:rerun-if-env-changed=BPF_STRIP");
    println!("cargo:rerun-if-env-changed=LIBCLANG_PATH");
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is set by cargo")?);
    let libbpf = env::var("DEP_BPF_INCLUDE").context("libbpf-sys exports the path of its headers")?;
    // The second name is Debian's folder of the machine's own UAPI headers, which `-target bpf` does not search.
    let (arch, multiarch) = match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => ("x86", "x86_64-linux-gnu"),
        "aarch64" => ("arm64", "aarch64-linux-gnu"),
        other => bail!("no kernel programs for {other} yet"),
    };
    let include = ["-Ibpf/include".to_owned(), format!("-idirafter/usr/include/{multiarch}")];
    bindings::generate(&include, &out.join("contract.rs"))?;
    let clang = tool("BPF_CLANG", "clang")?;
    let strip = tool("BPF_STRIP", "llvm-strip")?;
    for source in sources(Path::new("bpf"))? {
        let name = source.file_name().context("a source has a name")?.to_string_lossy().replace(".bpf.c", "");
        let variants = match name.as_str() {
            HOOK => HOOK_WORDS.map(|words| (format!("{name}{words}"), Some(format!("-DW={words}")))).to_vec(),
            _ => vec![(name.clone(), None)],
        };
        for (variant, define) in variants {
            let object = out.join(format!("{variant}.bpf.o"));
            execute(
                Command::new(&clang)
                    .args(["-g", "-O2", "-target", "bpf", "-mcpu=v2", "-Wall", "-Wextra", "-Werror"])
                    .args(["-Wno-unused-parameter", "-Wno-missing-field-initializers"])
                    .arg(format!("-D__TARGET_ARCH_{arch}"))
                    .args(define)
                    .args(&include)
                    .args(["-I", &libbpf, "-c"])
                    .arg(&source)
                    .arg("-o")
                    .arg(&object),
            )?;
            execute(Command::new(&strip).arg("-g").arg(&object))?;
            if name != HOOK {
                skeleton(&object, &out.join(format!("{name}.skel.rs")))?;
            }
        }
    }
    Ok(())
}

/// Generates the skeleton of an object. It contains the object's bytes, which `all()` returns too: they become public.
fn skeleton(object: &Path, file: &Path) -> Result<()> {
    SkeletonBuilder::new().obj(object).reference_obj(true).generate(file)?;
    let text = fs::read_to_string(file)?;
    ensure!(text.matches("static DATA: ").count() == 1, "{} has another text than expected", file.display());
    Ok(fs::write(file, text.replace("static DATA: ", "pub static DATA: "))?)
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

fn execute(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?} did not start"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}

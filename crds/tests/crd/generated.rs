//! The generated files in the repository are those that this code makes.

use std::{fs, path::Path, process::Command};

use super::repository;

#[test]
fn generated_files_are_up_to_date() {
    let fresh = tempdir();
    let [out, chart, values, docs] = ["crd", "chart", "values", "docs"].map(|folder| fresh.join(folder));
    let mut crdgen = Command::new(env!("CARGO_BIN_EXE_crdgen"));
    crdgen.arg("--out").arg(&out).arg("--chart").arg(&chart).arg("--values").arg(&values).arg("--docs").arg(&docs);
    assert!(crdgen.status().unwrap().success());
    same_files(&out, &repository("config/crd"));
    same_files(&chart, &repository("charts/trilobite-crds"));
    same_files(&values, &repository("charts/trilobite"));
    same_files(&docs, &repository("docs/kinds"));
    fs::remove_dir_all(fresh).unwrap();
}

#[test]
fn chart_keeps_its_crds_on_uninstall() {
    for entry in fs::read_dir(repository("charts/trilobite-crds/templates")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("helm.sh/resource-policy: keep"), "{}", path.display());
    }
}

fn same_files(fresh: &Path, kept: &Path) {
    for entry in fs::read_dir(fresh).unwrap() {
        let path = entry.unwrap().path();
        let kept = kept.join(path.file_name().unwrap());
        if path.is_dir() {
            same_files(&path, &kept);
        } else {
            let same = fs::read(&path).unwrap() == fs::read(&kept).unwrap_or_default();
            assert!(same, "{} is out of date: run `make generate`", kept.display());
        }
    }
}

fn tempdir() -> std::path::PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crdgen-{}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    path
}

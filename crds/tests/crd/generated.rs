//! The generated files in the repository are those that this code makes.

use std::{fs, path::Path, process::Command};

use super::repository;

#[test]
fn the_files_of_the_repository_are_those_that_crdgen_writes() {
    let fresh = tempdir();
    let (out, chart) = (fresh.join("crd"), fresh.join("chart"));
    let status = Command::new(env!("CARGO_BIN_EXE_crdgen")).arg("--out").arg(&out).arg("--chart").arg(&chart).status();
    assert!(status.unwrap().success());
    same_files(&out, &repository("config/crd"));
    same_files(&chart, &repository("charts/trilobite-crds"));
    fs::remove_dir_all(fresh).unwrap();
}

#[test]
fn the_chart_keeps_its_crds_when_it_leaves() {
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

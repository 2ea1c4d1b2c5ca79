//! Writes the CRDs where kustomize and Helm find them. A test fails when the files in the tree differ from these.

use std::{
    env,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;
use trilobite_crds::schema;

const HEADER: &str = "# Generated from crds/src by `make generate`.\n";

fn main() -> Result<(), Box<dyn Error>> {
    let (out, chart) = arguments()?;
    for (path, text) in files(&out, &chart)? {
        write(&path, &text).map_err(|cause| format!("writing {}: {cause}", path.display()))?;
    }
    Ok(())
}

fn arguments() -> Result<(PathBuf, PathBuf), String> {
    let usage =
        "usage: crdgen [--out DIRECTORY] [--chart DIRECTORY]; without them, those of the repository that it stands in";
    let (mut out, mut chart) = (None, None);
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let directory = words.next().ok_or(usage)?;
        match word.as_str() {
            "--out" => out = Some(directory.into()),
            "--chart" => chart = Some(directory.into()),
            _ => return Err(usage.into()),
        }
    }
    Ok((out.unwrap_or_else(|| "config/crd".into()), chart.unwrap_or_else(|| "charts/trilobite-crds".into())))
}

/// Every file with its text.
fn files(out: &Path, chart: &Path) -> Result<Vec<(PathBuf, String)>, serde_yaml::Error> {
    let mut files = Vec::new();
    let mut kustomization =
        format!("{HEADER}apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n");
    for mut crd in schema::crds() {
        let name = format!("{}.yaml", crd["spec"]["names"]["plural"].as_str().unwrap_or_default());
        kustomization.push_str(&format!("- {name}\n"));
        files.push((out.join(&name), format!("{HEADER}{}", serde_yaml::to_string(&crd)?)));
        files.push((chart.join("templates").join(&name), template(&mut crd)?));
    }
    files.push((out.join("kustomization.yaml"), kustomization));
    files.push((chart.join("Chart.yaml"), chart_yaml()));
    Ok(files)
}

/// A CRD stays when the chart leaves, because with it every object of the kind would go.
fn template(crd: &mut Value) -> Result<String, serde_yaml::Error> {
    crd["metadata"]["annotations"] = serde_json::json!({ "helm.sh/resource-policy": "keep" });
    let yaml = serde_yaml::to_string(crd)?;
    // Helm would take braces of a description for its own.
    Ok(format!("{HEADER}{}", yaml.replace("{{", "{{ \"{{\" }}")))
}

fn chart_yaml() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "{HEADER}apiVersion: v2\nname: trilobite-crds\ndescription: The resource types of trilobite.dev\ntype: application\n\
         version: {version}\nappVersion: \"{version}\"\nkubeVersion: \">=1.30.0-0\"\n"
    )
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, text)
}

//! Writes the CRDs where kustomize and Helm find them, the schema of the chart's values, and a page of docs for each kind. A
//! test fails when the files in the tree differ from these.

mod chart_values;
mod reference;

use std::{
    env,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;
use trilobite_crds::schema;

const HEADER: &str = "# Generated from crds/src by `make generate`.\n";
const CHART_VALUES: &str = "\
# Generated from crds/src by `make generate`.
# Installs Tetragon's own kinds, TracingPolicy and TracingPolicyNamespaced of cilium.io/v1alpha1, so that its policies can be
# applied unchanged. Leave it false where Tetragon is installed: its kinds are then used as they are.
ciliumCompat: false
";
const CHART_VALUES_SCHEMA: &str = r#"{
  "$schema": "http://json-schema.org/draft-07/schema#",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "ciliumCompat": {
      "type": "boolean"
    },
    "global": {
      "type": "object"
    }
  }
}
"#;

fn main() -> Result<(), Box<dyn Error>> {
    for (path, text) in files(&arguments()?)? {
        write(&path, &text).map_err(|cause| format!("writing {}: {cause}", path.display()))?;
    }
    Ok(())
}

/// Where files are written; by default in the repository that is the current directory.
struct Directories {
    crds: PathBuf,
    chart: PathBuf,
    values: PathBuf,
    docs: PathBuf,
}

fn arguments() -> Result<Directories, String> {
    let usage = "usage: crdgen [--out DIRECTORY] [--chart DIRECTORY] [--values DIRECTORY] [--docs DIRECTORY]; by default those of \
                 the repository that is the current directory";
    let mut directories = Directories {
        crds: "config/crd".into(),
        chart: "charts/trilobite-crds".into(),
        values: "charts/trilobite".into(),
        docs: "docs/kinds".into(),
    };
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let directory = words.next().ok_or(usage)?;
        match word.as_str() {
            "--out" => directories.crds = directory.into(),
            "--chart" => directories.chart = directory.into(),
            "--values" => directories.values = directory.into(),
            "--docs" => directories.docs = directory.into(),
            _ => return Err(usage.into()),
        }
    }
    Ok(directories)
}

/// Every file with its text.
fn files(directories: &Directories) -> Result<Vec<(PathBuf, String)>, Box<dyn Error>> {
    let Directories { crds: out, chart, values, docs } = directories;
    let crds = schema::crds();
    let pages = reference::pages(&crds).into_iter();
    let mut files: Vec<_> = pages.map(|(name, text)| (docs.join(name), text)).collect();
    let mut kustomization =
        format!("{HEADER}apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n");
    for mut crd in crds {
        let name = format!("{}.yaml", crd["spec"]["names"]["plural"].as_str().unwrap_or_default());
        kustomization.push_str(&format!("- {name}\n"));
        files.push((out.join(&name), format!("{HEADER}{}", serde_yaml::to_string(&crd)?)));
        files.push((chart.join("templates").join(&name), template(&mut crd)?));
    }
    for mut crd in schema::cilium_crds() {
        let name = format!("cilium-{}.yaml", crd["spec"]["names"]["plural"].as_str().unwrap_or_default());
        let text = template(&mut crd)?.replacen(HEADER, &format!("{HEADER}{{{{- if .Values.ciliumCompat }}}}\n"), 1);
        files.push((chart.join("templates").join(name), text + "{{- end }}\n"));
    }
    files.push((chart.join("values.yaml"), CHART_VALUES.into()));
    files.push((chart.join("values.schema.json"), CHART_VALUES_SCHEMA.into()));
    files.push((out.join("kustomization.yaml"), kustomization));
    files.push((chart.join("Chart.yaml"), chart_yaml()));
    files.push((values.join("values.schema.json"), chart_values::chart_values_schema()?));
    Ok(files)
}

/// A CRD survives the chart's removal, because every object of the kind would be deleted with it.
fn template(crd: &mut Value) -> Result<String, serde_yaml::Error> {
    crd["metadata"]["annotations"] = serde_json::json!({ "helm.sh/resource-policy": "keep" });
    let yaml = serde_yaml::to_string(crd)?;
    // Helm would read double braces of a description as a template.
    Ok(format!("{HEADER}{}", yaml.replace("{{", "{{ \"{{\" }}")))
}

fn chart_yaml() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "{HEADER}apiVersion: v2\nname: trilobite-crds\ndescription: The resource types of trilobite.dev\ntype: application\n\
         version: {version}\nappVersion: \"{version}\"\nkubeVersion: \">=1.33.0-0\"\n"
    )
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, text)
}

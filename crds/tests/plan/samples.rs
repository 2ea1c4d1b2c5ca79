//! The samples that an API server accepts and refuses are accepted and refused from files too.

use std::{fs, path::Path};

use serde::Deserialize;
use serde_json::Value;
use trilobite_crds::{desired_from_resources, node::SourceKind, parse_documents};

use super::now;

struct Sample {
    name: String,
    text: String,
    documents: Vec<Value>,
}

/// Samples of kinds that files may have.
fn samples(directory: &str) -> Vec<Sample> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory);
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let documents =
            serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap()).collect();
        Sample { name: path.display().to_string(), text, documents }
    };
    let is_user_kind = |document: &Value| serde_json::from_value::<SourceKind>(document["kind"].clone()).is_ok();
    let samples: Vec<_> =
        paths.iter().map(|path| read(path)).filter(|sample| sample.documents.iter().all(is_user_kind)).collect();
    assert!(samples.len() >= 5, "{}", samples.len());
    samples
}

#[test]
fn accepted_samples_are_accepted_from_files() {
    for sample in samples("crds/samples/accepted").iter().chain(&samples("config/samples")) {
        let parsed = parse_documents(&sample.text, &sample.name);
        assert!(parsed.is_ok(), "{:?}", parsed.unwrap_err());
    }
}

#[test]
fn refused_samples_are_refused_from_files() {
    for sample in samples("crds/samples/refused") {
        if sample.documents.len() > 1 {
            // Two states of one object: the rule about the change has no old object in a file, so the second is a duplicate.
            let (_, refusals) = desired_from_resources(&parse_documents(&sample.text, &sample.name).unwrap(), now());
            assert!(refusals.iter().any(|refusal| refusal.field == "metadata.name"), "{}", sample.name);
            continue;
        }
        let announced = sample.text.lines().next().unwrap().strip_prefix("# refused: ").unwrap();
        let errors: Vec<String> =
            parse_documents(&sample.text, &sample.name).unwrap_err().iter().map(ToString::to_string).collect();
        assert!(errors.iter().any(|error| error.contains(announced)), "{announced:?} is not in {errors:?}");
    }
}

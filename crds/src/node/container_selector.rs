//! Selectors of containers: a label selector over a container's `name` and `repo`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::selector::{self, SelectorError};

/// The key of the container's name.
pub const CONTAINER_NAME: &str = "name";
/// The key of its image without tag and digest.
pub const CONTAINER_REPO: &str = "repo";

/// Whether a container matches. `nginx`, `library/nginx` and `docker.io/library/nginx` are one repo.
pub fn matches_container(selector: &LabelSelector, name: &str, image: &str) -> Result<bool, SelectorError> {
    let mut selector = selector.clone();
    if let Some(repo) = selector.match_labels.as_mut().and_then(|labels| labels.get_mut(CONTAINER_REPO)) {
        *repo = full_name(repo);
    }
    let requirements = selector.match_expressions.iter_mut().flatten();
    for requirement in requirements.filter(|requirement| requirement.key == CONTAINER_REPO) {
        requirement.values.iter_mut().flatten().for_each(|repo| *repo = full_name(repo));
    }
    let repo = full_name(image_repo(image));
    let labels = BTreeMap::from([(CONTAINER_NAME.to_owned(), name.to_owned()), (CONTAINER_REPO.to_owned(), repo)]);
    selector::matches(&selector, &labels)
}

/// An image without its tag and digest; the port of a registry is no tag.
fn image_repo(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

/// With registry and folder, as the container runtimes write a short name out.
fn full_name(repo: &str) -> String {
    match repo.split_once('/') {
        None => format!("docker.io/library/{repo}"),
        Some(("docker.io", rest)) if !rest.contains('/') => format!("docker.io/library/{rest}"),
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => repo.to_owned(),
        Some(_) => format!("docker.io/{repo}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(key: &str, value: &str) -> LabelSelector {
        LabelSelector { match_labels: Some(BTreeMap::from([(key.into(), value.into())])), match_expressions: None }
    }

    #[test]
    fn repo_has_neither_tag_nor_digest() {
        for (image, repo) in [
            ("nginx", "nginx"),
            ("nginx:1.27", "docker.io/library/nginx"),
            ("registry.reef:5000/shop/till", "registry.reef:5000/shop/till"),
            ("registry.reef:5000/shop/till:2@sha256:0123", "registry.reef:5000/shop/till"),
            ("shop/till@sha256:0123", "docker.io/shop/till"),
            ("docker.io/nginx:1", "library/nginx"),
        ] {
            assert_eq!(matches_container(&is(CONTAINER_REPO, repo), "web", image), Ok(true), "{image}");
        }
        assert_eq!(matches_container(&is(CONTAINER_REPO, "nginx"), "web", "reef.io/nginx:1"), Ok(false));
    }

    #[test]
    fn container_is_selected_by_name() {
        assert_eq!(matches_container(&is(CONTAINER_NAME, "web"), "web", "nginx"), Ok(true));
        assert_eq!(matches_container(&is(CONTAINER_NAME, "web"), "sidecar", "nginx"), Ok(false));
        assert_eq!(matches_container(&LabelSelector::default(), "sidecar", "nginx"), Ok(true));
    }
}

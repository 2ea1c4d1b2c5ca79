//! `trilobite profile` and `trilobite profiles`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{color::ColorArgs, output::OutputFormat, time::profile_span};
use crate::pod_name::PodName;

#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    /// Pod to profile, as NAMESPACE/POD, or as POD with -n; with --socket, an AppProfile from the agent's files.
    #[arg(value_name = "[NAMESPACE/]POD", required_unless_present = "name")]
    pub(crate) pod: Option<String>,
    /// Namespace of the pod or of the AppProfile; that of the context otherwise.
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
    /// Fetch the result of this AppProfile, also while it runs; 'trilobite profiles' lists them.
    #[arg(long, value_name = "[NAMESPACE/]NAME", conflicts_with_all = ["pod", "span", "frequency"])]
    pub(crate) name: Option<String>,
    /// How long to sample, from 1s to 1h.
    #[arg(long = "for", value_name = "TIME", value_parser = profile_span, default_value = "30s")]
    pub(crate) span: Duration,
    /// File for the profile; flame.svg by default. NAME.svg is a flame graph, NAME.pb.gz is for pprof, NAME.folded has
    /// folded stacks; the word "folded" prints these.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print a table of the N functions with the most samples; without -o no file is written.
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub(crate) top: Option<usize>,
    /// File for the folded stacks, if you want them too.
    #[arg(long, value_name = "FILE")]
    pub(crate) folded: Option<PathBuf>,
    /// Samples per second on each CPU.
    #[arg(long, default_value_t = 49, value_parser = clap::value_parser!(i32).range(1..=999))]
    pub(crate) frequency: i32,
}

/// What `trilobite profile` is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProfileTarget {
    /// A pod, for which an AppProfile is created.
    Pod(PodName),
    /// An AppProfile that exists.
    AppProfile(PodName),
}

impl ProfileArgs {
    /// `default_namespace` is that of the kubeconfig's context.
    pub(crate) fn target(&self, default_namespace: &str) -> Result<ProfileTarget, String> {
        let parse = |text: &str| -> Result<PodName, String> {
            let full = match (text.split_once('/'), &self.namespace) {
                (None, namespace) => format!("{}/{text}", namespace.as_deref().unwrap_or(default_namespace)),
                // Kubectl's other form, with the kind before the name.
                (Some(("pod" | "pods" | "appprofile" | "appprofiles", name)), Some(namespace)) => {
                    format!("{namespace}/{name}")
                }
                (Some((given, _)), Some(namespace)) if given != namespace => {
                    return Err(format!("{text} is in namespace {given}, but -n says {namespace}"));
                }
                (Some(_), _) => text.to_owned(),
            };
            full.parse()
        };
        match (&self.name, &self.pod) {
            (Some(name), _) => parse(name).map(ProfileTarget::AppProfile),
            (None, pod) => parse(pod.as_deref().unwrap_or_default()).map(ProfileTarget::Pod),
        }
    }
}

#[derive(Debug, Default, Args)]
pub(crate) struct ProfilesArgs {
    /// Namespace; that of the context otherwise.
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
    /// AppProfiles of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Table)]
    pub(crate) output: OutputFormat,
    #[command(flatten)]
    pub(crate) color: ColorArgs,
}

//! A real Kubernetes cluster on this machine: started by one program and stopped by it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use trilobite_cluster::{Cache, Cluster, Image, Result, build, default_folder};

#[derive(Parser)]
#[command(name = "trilobite-cluster", about = "A real Kubernetes cluster on this machine, without a registry")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Everything that `up` needs.
    Cluster,
    /// What `up --control-plane-only` needs.
    ControlPlane,
    /// The workload programs and the images.
    Images,
    /// tetra, hubble and helm.
    Clients,
    /// The image of real servers and their clients, of Debian's packages.
    Servers,
    /// The cluster, tetra and hubble: what the demo needs.
    Demo,
    /// The cluster, the clients and the servers.
    All,
}

#[derive(clap::Args)]
struct Folder {
    /// The state folder; the default is target/cluster of the workspace.
    #[arg(long)]
    state: Option<PathBuf>,
    /// The control plane without nodes; its default folder is target/control-plane.
    #[arg(long)]
    control_plane_only: bool,
}

impl Folder {
    fn path(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(|| default_folder(self.control_plane_only))
    }
}

#[derive(Subcommand)]
enum Command {
    /// Build what is needed, once, into the cache (TRILOBITE_CACHE, or ~/.cache/trilobite).
    Build {
        #[arg(value_enum, default_value = "cluster")]
        what: What,
    },
    /// Start a cluster.
    Up {
        #[arg(long, default_value_t = 2)]
        nodes: u8,
        /// Make the last node a QEMU guest with this kernel of Debian, e.g. 6.12: `trilobite-kernels fetch --node` first.
        #[arg(long, value_name = "SERIES", conflicts_with = "control_plane_only")]
        guest: Option<String>,
        #[command(flatten)]
        folder: Folder,
    },
    /// End a cluster and remove all of it; what is left is named, and is a failure.
    Down {
        #[command(flatten)]
        folder: Folder,
    },
    /// Fail unless `up` came to its end and the API server answers.
    Check {
        #[command(flatten)]
        folder: Folder,
    },
    /// Stop apiserver, etcd, kube-controller-manager, kube-scheduler, a node, or a part of one (node2/kubelet).
    Stop {
        what: String,
        #[command(flatten)]
        folder: Folder,
    },
    /// Start again what was stopped.
    Start {
        what: String,
        #[command(flatten)]
        folder: Folder,
    },
    /// Take a node away as a power cut would.
    NodeDown {
        node: String,
        #[command(flatten)]
        folder: Folder,
    },
    /// Bring a node back.
    NodeUp {
        node: String,
        #[command(flatten)]
        folder: Folder,
    },
    /// Write an image archive from static programs.
    Image {
        /// name:tag
        name: String,
        archive: PathBuf,
        /// The command, as a JSON list.
        #[arg(long, default_value = "[]")]
        entrypoint: String,
        /// The user that it runs as, for example 65532:65532.
        #[arg(long, default_value = "")]
        user: String,
        /// source=path, or @target=path for a link.
        content: Vec<String>,
    },
    /// Import image archives on every node.
    Load {
        #[arg(required = true)]
        archives: Vec<PathBuf>,
        #[command(flatten)]
        folder: Folder,
    },
    /// Run kubectl as administrator.
    Kubectl {
        /// The state folder; the default is target/cluster of the workspace.
        #[arg(long)]
        state: Option<PathBuf>,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

fn main() -> ExitCode {
    match execute(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<ExitCode> {
    let cache = Cache::from_environment();
    match command {
        Command::Build { what } => build_what(&cache, what)?,
        Command::Up { nodes, guest, folder } => up(&cache, nodes, guest.as_deref(), &folder)?,
        Command::Down { folder } => Cluster::down(&folder.path())?,
        Command::Check { folder } => Cluster::open(&folder.path())?.check()?,
        Command::Stop { what, folder } | Command::NodeDown { node: what, folder } => {
            Cluster::open(&folder.path())?.stop(&what)?;
        }
        Command::Start { what, folder } | Command::NodeUp { node: what, folder } => {
            Cluster::open(&folder.path())?.start(&what)?;
        }
        Command::Image { name, archive, entrypoint, user, content } => {
            let mut image = Image::new(&name, &[]);
            image.entrypoint = serde_json::from_str(&entrypoint)
                .map_err(|error| trilobite_cluster::Error::Refused(format!("--entrypoint {entrypoint}: {error}")))?;
            image.user = user;
            content.iter().try_for_each(|word| image.add(word))?;
            say(&image.write(&archive)?);
        }
        Command::Load { archives, folder } => Cluster::open(&folder.path())?.load(&archives)?,
        Command::Kubectl { state, words } => {
            let folder = state.unwrap_or_else(|| default_folder(false));
            let mut kubectl = Cluster::open(&folder)?.kubectl();
            let status = kubectl
                .args(words)
                .status()
                .map_err(|source| trilobite_cluster::Error::Start { program: "kubectl".to_owned(), source })?;
            return Ok(status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(code.clamp(0, 255) as u8)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn build_what(cache: &Cache, what: What) -> Result<()> {
    match what {
        What::Cluster => build::cluster(cache),
        What::ControlPlane => build::control_plane(cache),
        What::Images => build::workload_images(cache),
        What::Clients => build::clients(cache),
        What::Servers => build::servers(cache),
        What::Demo => build::cluster(cache).and_then(|()| build::readers(cache)),
        What::All => build::cluster(cache).and_then(|()| build::clients(cache)).and_then(|()| build::servers(cache)),
    }?;
    build::prune(cache);
    Ok(())
}

fn up(cache: &Cache, nodes: u8, guest: Option<&str>, folder: &Folder) -> Result<()> {
    let start = std::time::Instant::now();
    let path = folder.path();
    let cluster = match guest {
        _ if folder.control_plane_only => Cluster::up_control_plane(&path, cache),
        Some(series) => Cluster::up_with_guest(&path, cache, nodes, series),
        None => Cluster::up(&path, cache, nodes),
    };
    let cluster =
        cluster.inspect_err(|_| eprintln!("`down` removes what was started; the logs are in {}", path.display()))?;
    eprintln!("{:6.1} s  in all", start.elapsed().as_secs_f32());
    say(&format!("export KUBECONFIG={}", cluster.kubeconfig().display()));
    Ok(())
}

fn say(line: &str) {
    // A closed pipe is no failure: the reader has what it wanted.
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_takes_links_before_and_after_its_options() {
        let words = ["trilobite-cluster", "image", "a:1", "a.tar", "@b=bin/sh", "--entrypoint", "[]", "x=y"];
        let Command::Image { entrypoint, content, .. } = Arguments::try_parse_from(words).unwrap().command else {
            panic!("another command");
        };
        assert_eq!((entrypoint.as_str(), content), ("[]", vec!["@b=bin/sh".to_owned(), "x=y".to_owned()]));
    }
}

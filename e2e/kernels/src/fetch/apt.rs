//! An apt with its own root: own sources, lists and cache, so that the machine's is neither read for packages nor changed.
//! How to reach an archive (proxies, credentials) stays the machine's configuration.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{error::FetchError, mirror::Mirror};
use crate::{
    kernels::{Archive, Kernel},
    program::output,
};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Apt commands that use the private root.
#[derive(Debug)]
pub(crate) struct PrivateApt {
    configuration: PathBuf,
}

impl PrivateApt {
    /// Makes the root with the suites that `kernels` come from, and reads their package lists.
    pub(crate) fn new(root: PathBuf, kernels: &[Kernel]) -> Result<Self, FetchError> {
        let uris = output(Command::new("apt-get").args(["update", "--print-uris"]))?;
        let mirror = Mirror::from_uris(&String::from_utf8_lossy(&uris)).ok_or(FetchError::NoMirror)?;
        let reaching = output(Command::new("apt-config").arg("dump"))?;
        for directory in ["sources.d", "parts", "lists/partial", "cache/archives/partial"] {
            let directory = root.join(directory);
            fs::create_dir_all(&directory).map_err(FetchError::file("make", &directory))?;
        }
        let configuration = root.join("apt.conf");
        write(&configuration, &configure(&root, &String::from_utf8_lossy(&reaching)))?;
        write(&root.join("sources.d/kernels.sources"), &sources(&mirror, kernels))?;
        let apt = Self { configuration };
        output(apt.command("apt-get").args(["update", "--error-on=any"]))?;
        Ok(apt)
    }

    /// All versions of package `name`, as the archive's own stanzas.
    pub(crate) fn show(&self, name: &str) -> Result<String, FetchError> {
        let stanzas = output(self.command("apt-cache").args(["show", name]))?;
        Ok(String::from_utf8_lossy(&stanzas).into_owned())
    }

    /// Downloads `name=version`s into `directory`, which has no other packages, and unpacks them over one another in `tree`.
    pub(crate) fn download(&self, names: &[String], directory: &Path, tree: &Path) -> Result<(), FetchError> {
        output(self.command("apt-get").arg("download").args(names).current_dir(directory))?;
        for entry in fs::read_dir(directory).map_err(FetchError::file("list", directory))? {
            let path = entry.map_err(FetchError::file("list", directory))?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                output(Command::new("dpkg-deb").arg("-x").args([&path, tree]))?;
            }
        }
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.configuration);
        command
    }
}

fn write(path: &Path, text: &str) -> Result<(), FetchError> {
    fs::write(path, text).map_err(FetchError::file("write", path))
}

/// Of the machine's settings only `Acquire::` is kept: its hooks would run on the machine's own lists.
fn configure(root: &Path, machine: &str) -> String {
    let root = root.display();
    let mut text = String::new();
    for line in
        machine.lines().filter(|line| line.starts_with("Acquire::") && !line.starts_with("Acquire::IndexTargets"))
    {
        let _ = writeln!(text, "{line}");
    }
    let _ = write!(
        text,
        "APT::Architecture \"amd64\";\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\n\
         Dir::Etc::main \"/dev/null\";\n\
         Dir::Etc::parts \"{root}/parts\";\n\
         Dir::Etc::sourcelist \"/dev/null\";\n\
         Dir::Etc::sourceparts \"{root}/sources.d\";\n\
         Dir::Etc::preferencesparts \"{root}/parts\";\n\
         Dir::State::lists \"{root}/lists\";\n\
         Dir::Cache \"{root}/cache\";\n"
    );
    text
}

fn sources(mirror: &Mirror, kernels: &[Kernel]) -> String {
    let mut text = String::new();
    for (archive, base) in [(Archive::Main, &mirror.main), (Archive::Security, &mirror.security)] {
        let of_archive = |kernel: &&Kernel| kernel.archive == archive;
        let suites: Vec<_> = kernels.iter().filter(of_archive).map(|kernel| kernel.suite).collect();
        if !suites.is_empty() {
            let suites = suites.join(" ");
            let _ = writeln!(
                text,
                "Types: deb\nURIs: {base}\nSuites: {suites}\nComponents: main\nArchitectures: amd64\nSigned-By: {KEYRING}\n"
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::KERNELS;

    #[test]
    fn each_suite_is_asked_of_its_own_archive_and_no_other_suite_is() {
        let mirror = Mirror { main: "http://m.example/debian".into(), security: "http://s.example/sec".into() };
        let text = sources(&mirror, &[KERNELS[0], KERNELS[3]]);
        assert!(text.contains("URIs: http://m.example/debian\nSuites: forky\n"), "{text}");
        assert!(text.contains("URIs: http://s.example/sec\nSuites: bullseye-security\n"), "{text}");
    }

    #[test]
    fn the_machines_way_out_is_kept_and_its_hooks_are_not() {
        let machine = "Acquire::http::Proxy \"http://p.example:1\";\nAPT::Update::Post-Invoke:: \"rm -rf lists\";\n";
        let text = configure(Path::new("/c/apt"), machine);
        assert!(text.starts_with("Acquire::http::Proxy \"http://p.example:1\";\nAPT::Architecture"), "{text}");
        assert!(!text.contains("Invoke"));
    }
}

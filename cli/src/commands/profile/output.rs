//! Writes a merged profile: as a flame graph, in pprof's format, as folded stacks, or as a table of functions.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use trilobite_folded_stacks::pprof;

use super::merged::MergedProfile;
use crate::{
    args::ProfileArgs,
    commands::{failure::Failure, print::print_line, profile_error::ProfileError},
    fold::{flame::flame_graph, top::top_functions},
};

/// `-o folded` prints to standard output.
const FOLDED: &str = "folded";
const DEFAULT_FILE: &str = "flame.svg";

/// What is written for one command.
pub(super) struct ProfileOutput<'a> {
    /// Stacks on standard output.
    prints_folded: bool,
    /// Lines of the table of functions on standard output.
    top: Option<usize>,
    file: Option<PathBuf>,
    folded: Option<&'a Path>,
}

impl<'a> ProfileOutput<'a> {
    /// Without a file to write and without something to print it is a flame graph.
    pub(super) fn of_arguments(arguments: &'a ProfileArgs) -> Self {
        let output = arguments.output.as_deref();
        let prints_folded = output == Some(Path::new(FOLDED));
        let file = match output {
            Some(_) if prints_folded => None,
            Some(path) => Some(path.to_owned()),
            None if arguments.top.is_some() => None,
            None => Some(DEFAULT_FILE.into()),
        };
        Self { prints_folded, top: arguments.top, file, folded: arguments.folded.as_deref() }
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        self.file.as_deref().into_iter().chain(self.folded)
    }

    /// Checked before sampling rather than after it.
    pub(super) fn require_folders(&self) -> Result<(), ProfileError> {
        self.files().try_for_each(require_folder)
    }

    pub(super) fn write(&self, merged: &MergedProfile, target: &str, out: &mut dyn Write) -> Result<(), Failure> {
        // The stacks first: they must not be lost if the flame graph cannot be drawn.
        if let Some(path) = self.folded {
            write_file(path, merged.folded.text().as_bytes())?;
        }
        if let Some(path) = &self.file {
            write_file(path, &encode(path, merged, target)?)?;
        }
        if self.prints_folded {
            out.write_all(merged.folded.text().as_bytes()).map_err(Failure::Write)?;
        }
        if let Some(count) = self.top {
            out.write_all(top_functions(&merged.folded, count).as_bytes()).map_err(Failure::Write)?;
        }
        self.files().try_for_each(|path| print_line(out, &path.display().to_string()))
    }
}

/// The bytes of the file, whose form its name decides.
fn encode(path: &Path, merged: &MergedProfile, target: &str) -> Result<Vec<u8>, ProfileError> {
    let name = path.to_string_lossy();
    let title = merged.title(target).to_string();
    if name.ends_with(".pb.gz") {
        let comment = format!("{title}; {}", merged.summary);
        let encoded = pprof::encode(&merged.folded, merged.sampling, &comment);
        return encoded.map_err(|source| ProfileError::Write { path: path.into(), source });
    }
    if name.ends_with(".folded") {
        return Ok(merged.folded.text().into_bytes());
    }
    flame_graph(&merged.folded, &title, &merged.summary.to_string()).map_err(ProfileError::Draw)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ProfileError> {
    fs::write(path, bytes).map_err(|source| ProfileError::Write { path: path.into(), source })
}

fn require_folder(path: &Path) -> Result<(), ProfileError> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    if folder.is_dir() {
        return Ok(());
    }
    Err(ProfileError::Write {
        path: path.into(),
        source: io::Error::new(io::ErrorKind::NotFound, "its folder does not exist"),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use trilobite_api::profiles::Profile;

    use super::{super::fetch::NodeResult, *};
    use crate::args::{Arguments, Command};

    /// What the command prints, and the folder with what it writes.
    fn written(line: &[&str]) -> (String, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let line =
            ["trilobite", "profile", "shop/till-1"].iter().chain(line).map(|word| match word.strip_prefix('@') {
                Some(file) => folder.path().join(file).display().to_string(),
                None => (*word).to_owned(),
            });
        let Command::Profile(arguments) = Arguments::try_parse_from(line).unwrap().command else { panic!("another") };
        let profile = Profile { samples: 42, frequency_hz: 49, ..Profile::default() };
        let folded = "till-1/app;till;till;main;dig 30\ntill-1/app;till;till;main;rest 12\n".to_owned();
        let merged = MergedProfile::new(vec![NodeResult { node: "birch".into(), profile, folded }]).unwrap();
        let mut out = Vec::new();
        ProfileOutput::of_arguments(&arguments).write(&merged, "shop/till-1", &mut out).unwrap();
        (String::from_utf8(out).unwrap(), folder)
    }

    #[test]
    fn form_of_the_file_is_that_of_its_name() {
        let begins = |name: &str| {
            let (out, folder) = written(&["-o", &format!("@{name}")]);
            assert!(out.ends_with(&format!("{name}\n")), "{out}");
            fs::read(folder.path().join(name)).unwrap()[..2].to_vec()
        };
        assert_eq!(begins("flame.svg"), b"<?");
        assert_eq!(begins("profile.pb.gz"), [0x1f, 0x8b]);
        assert_eq!(begins("stacks.folded"), b"ti");
    }

    #[test]
    fn folded_stacks_and_the_table_are_printed() {
        let (out, _) = written(&["-o", "folded"]);
        assert_eq!(out, "till-1/app;till;till;main;dig 30\ntill-1/app;till;till;main;rest 12\n");
        let (out, _) = written(&["--top", "1"]);
        assert!(out.contains("FUNCTION") && out.ends_with(" dig\n") && out.lines().count() == 2, "{out}");
        let (out, _) = written(&["--top", "1", "-o", "@flame.svg"]);
        assert!(out.contains(" dig\n") && out.ends_with("flame.svg\n"), "{out}");
    }

    #[test]
    fn no_lines_of_the_table_is_refused() {
        assert!(Arguments::try_parse_from(["trilobite", "profile", "shop/till-1", "--top", "0"]).is_err());
    }
}

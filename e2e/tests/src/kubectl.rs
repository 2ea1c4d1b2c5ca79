//! `kubectl` as administrator of the cluster under test.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use trilobite_cluster::{Cache, command::without_proxies};

/// The real kubectl, for one kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// The cached kubectl, for this kubeconfig.
    pub fn new(kubeconfig: PathBuf) -> Self {
        Self {
            program: Cache::from_environment().program("kubectl").expect("`trilobite-cluster build` first"),
            kubeconfig,
        }
    }

    /// A command with these words.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        without_proxies(&mut command).arg("--kubeconfig").arg(&self.kubeconfig);
        command.arg("--cache-dir").arg(self.cache_folder()).args(words);
        command
    }

    fn cache_folder(&self) -> PathBuf {
        self.kubeconfig.with_extension("kubectl-cache")
    }

    /// Makes the next command ask for the kinds that exist. Otherwise `tracingpolicy` would mean one of another group for minutes
    /// after that was removed.
    pub fn forget_kinds(&self) {
        if let Err(error) = fs::remove_dir_all(self.cache_folder()) {
            eprintln!("{}: {error}", self.cache_folder().display());
        }
    }

    /// Runs it to its end, whatever that is.
    pub fn output(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("kubectl starts")
    }

    /// Its standard output; anything but success is a failure of the test.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> String {
        let done = self.output(words);
        assert!(done.status.success(), "kubectl {words:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// Its standard output, or what it said instead.
    pub fn ask(&self, words: &[&str]) -> Result<String, String> {
        let done = self.output(words);
        if done.status.success() {
            return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
        }
        Err(String::from_utf8_lossy(&done.stderr).into_owned())
    }

    /// Applies YAML text; what the API server said, either way.
    pub fn try_apply(&self, yaml: &str) -> Result<String, String> {
        let done = self.with_input(&["apply", "-f", "-"], yaml);
        let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        if done.status.success() { Ok(said) } else { Err(said) }
    }

    /// Applies YAML text.
    #[track_caller]
    pub fn apply(&self, yaml: &str) {
        self.try_apply(yaml).unwrap_or_else(|said| panic!("kubectl apply: {said}\n{yaml}"));
    }

    /// Deletes what a YAML text names; what is gone already is no failure.
    #[track_caller]
    pub fn delete(&self, yaml: &str) {
        self.try_delete(yaml).unwrap_or_else(|said| panic!("kubectl delete: {said}"));
    }

    /// The same; what was said where it failed.
    pub fn try_delete(&self, yaml: &str) -> Result<(), String> {
        let done = self.with_input(&["delete", "--ignore-not-found", "--wait=true", "-f", "-"], yaml);
        if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
    }

    /// One object as JSON.
    pub fn get(&self, words: &[&str]) -> Result<Value, String> {
        let text = self.ask(&[&["get", "-o", "json"], words].concat())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    /// Starts it, with its output to be read.
    pub fn spawn(&self, words: &[&str]) -> Child {
        self.command(words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("kubectl starts")
    }

    /// The kubeconfig.
    pub fn kubeconfig(&self) -> &PathBuf {
        &self.kubeconfig
    }

    fn with_input(&self, words: &[&str], input: &str) -> Output {
        let mut child = self
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }
}

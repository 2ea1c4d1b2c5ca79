//! Boots one kernel under QEMU's software emulation and listens to its serial line until it powers off.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use crate::{
    program::{ProgramError, not_started},
    protocol::Transcript,
};

const QEMU: &str = "qemu-system-x86_64";

/// A kernel that has not started init by then has hung: many times what a busy machine needs.
const INIT_WITHIN: Duration = Duration::from_secs(180);

/// `no_timer_check`: on a busy machine the emulated timer misses the moment in which the kernel looks whether it works, and
/// the kernel panics. The others keep a processor that had to wait from being taken for a broken one.
const PARAMETERS: &str = "console=ttyS0 quiet panic=-1 rdinit=/init no_timer_check nowatchdog \
                          rcupdate.rcu_cpu_stall_suppress=1";

/// What a boot said, all of it and understood, and how long it took.
#[derive(Debug)]
pub(crate) struct Boot {
    pub(crate) said: Transcript,
    pub(crate) console: Vec<String>,
    pub(crate) seconds: f64,
}

/// QEMU could not be started or listened to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("{doing} {}: {error}", path.display())]
    File { doing: &'static str, path: PathBuf, error: io::Error },
    #[error("wait for QEMU: {0}")]
    Wait(io::Error),
}

/// Boots `vmlinuz` with `initramfs`; after `limit` the machine is switched off, and what it said until then is the answer.
/// So it is when init has not begun after `INIT_WITHIN`.
pub(crate) fn boot(directory: &Path, initramfs: &[u8], limit: Duration) -> Result<Boot, BootError> {
    let image = directory.join("initramfs.gz");
    fs::write(&image, initramfs).map_err(|error| BootError::File { doing: "write", path: image.clone(), error })?;
    let start = Instant::now();
    let mut command = qemu(&directory.join("vmlinuz"), &image);
    let mut machine = command.spawn().map_err(|error| not_started(&command, error))?;
    let heard = listen(&mut machine, start + limit.min(INIT_WITHIN), start + limit);
    // Ends the machine when the limit did not let it end; one that has powered off is not there to be killed.
    let _ = machine.kill();
    machine.wait().map_err(BootError::Wait)?;
    let mut boot = Boot { said: Transcript::default(), console: heard, seconds: start.elapsed().as_secs_f64() };
    boot.console.iter().for_each(|line| boot.said.take(line));
    let log = directory.join("console.log");
    fs::write(&log, boot.console.join("\n")).map_err(|error| BootError::File { doing: "write", path: log, error })?;
    Ok(boot)
}

/// `cx16=off`: QEMU 7.2's cmpxchg16b corrupts the slab allocator of 6.12.
fn qemu(vmlinuz: &Path, initramfs: &Path) -> Command {
    let mut command = Command::new(QEMU);
    command
        .args(["-accel", "tcg", "-cpu", "max,cx16=off", "-m", "1024", "-smp", "2", "-display", "none"])
        .args(["-serial", "stdio", "-monitor", "none", "-nic", "none", "-no-reboot", "-kernel"])
        .arg(vmlinuz)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", PARAMETERS])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    command
}

/// Lines of the serial console until it closes or `end` comes; `init_by`, where init has not begun until then.
fn listen(machine: &mut Child, init_by: Instant, end: Instant) -> Vec<String> {
    let Some(serial) = machine.stdout.take() else { return Vec::new() };
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(serial).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    let mut heard: Vec<String> = Vec::new();
    let mut until = init_by;
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if line.starts_with("BOOT ") {
                    until = end;
                }
                heard.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => return heard,
            Err(RecvTimeoutError::Timeout) => {
                heard.push("(switched off: the time limit was reached)".to_owned());
                return heard;
            }
        }
    }
}

//! Boots one kernel under QEMU's software emulation and listens to its serial line until it powers off.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::fd::AsRawFd,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::{
    program::{ProgramError, not_started},
    protocol::Transcript,
};

/// From util-linux: QEMU is killed when the thread that started it ends, in whatever way.
const WITH_US: [&str; 4] = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"];

/// One instruction is so many nanoseconds of the guest's time, as a power of two, and idle time passes at once: what a guest
/// waits for does not depend on how busy this machine is.
const CLOCK: &str = "shift=3,sleep=off";

/// A kernel that has not started init by then has hung. It takes seconds, and minutes on an overloaded machine.
const INIT_WITHIN: Duration = Duration::from_secs(600);

/// `no_timer_check`: when the emulated timer misses the moment in which the kernel looks whether it works, the kernel panics.
/// The others keep a processor that had to wait from being taken for a broken one.
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
    #[error("keep the initramfs in memory: {0}")]
    Initramfs(#[source] io::Error),
    #[error("wait for QEMU: {0}")]
    Wait(io::Error),
}

/// Boots the image `vmlinuz` with `initramfs` on a processor of QEMU. A machine that has not begun init after `INIT_WITHIN`, or
/// then says nothing for `silence`, is switched off, and what it said until then is the answer.
pub(crate) fn boot(vmlinuz: &Path, processor: &str, initramfs: &[u8], silence: Duration) -> Result<Boot, BootError> {
    let start = Instant::now();
    // In memory: nothing is left behind, and two checkouts that share a cache do not meet.
    let mut archive =
        File::from(memfd_create("initramfs", MemfdFlags::CLOEXEC).map_err(|errno| BootError::Initramfs(errno.into()))?);
    archive.write_all(initramfs).map_err(BootError::Initramfs)?;
    let image = format!("/proc/{}/fd/{}", std::process::id(), archive.as_raw_fd());
    let mut command = qemu(vmlinuz, processor, &image);
    let mut machine = command.spawn().map_err(|error| not_started(&command, error))?;
    let console = listen(&mut machine, start + INIT_WITHIN, silence);
    // Ends the machine when it did not end by itself; one that has powered off is not there to be killed.
    let _ = machine.kill();
    machine.wait().map_err(BootError::Wait)?;
    let mut said = Transcript::default();
    console.iter().for_each(|line| said.record(line));
    Ok(Boot { said, console, seconds: start.elapsed().as_secs_f64() })
}

fn qemu(vmlinuz: &Path, processor: &str, initramfs: &str) -> Command {
    let mut command = Command::new(WITH_US[0]);
    command
        .args(&WITH_US[1..])
        .args(["-accel", "tcg", "-cpu", processor, "-icount", CLOCK, "-m", "1024", "-smp", "1", "-display", "none"])
        .args(["-serial", "stdio", "-monitor", "none", "-nic", "none", "-no-reboot", "-kernel"])
        .arg(vmlinuz)
        .args(["-initrd", initramfs, "-append", PARAMETERS])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    command
}

/// Lines of the serial console until it closes, or init has not begun at `init_by`, or no line came for `silence` after that.
fn listen(machine: &mut Child, init_by: Instant, silence: Duration) -> Vec<String> {
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
    collect_lines(&lines, init_by, silence)
}

fn collect_lines(lines: &Receiver<String>, init_by: Instant, silence: Duration) -> Vec<String> {
    let mut console: Vec<String> = Vec::new();
    let mut begun = false;
    loop {
        let patience = if begun { silence } else { init_by.saturating_duration_since(Instant::now()) };
        match lines.recv_timeout(patience) {
            Ok(line) => {
                begun |= line.starts_with("BOOT ");
                console.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => return console,
            Err(RecvTimeoutError::Timeout) => {
                console.push(format!("(switched off: no output for {} s)", patience.as_secs()));
                return console;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that says each line so many milliseconds after the one before, and then hangs.
    fn machine(lines: &'static [(u64, &'static str)]) -> Receiver<String> {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for (after, line) in lines {
                thread::sleep(Duration::from_millis(*after));
                let _ = sender.send((*line).to_owned());
            }
            thread::sleep(Duration::from_secs(60));
        });
        receiver
    }

    #[test]
    fn machine_that_goes_on_printing_is_not_switched_off() {
        let lines = machine(&[(0, "BOOT 6.1 3.0"), (200, "TEST a ok"), (200, "TEST b ok"), (200, "TEST c ok")]);
        let console = collect_lines(&lines, Instant::now() + Duration::from_millis(300), Duration::from_millis(400));
        assert_eq!(console.len(), 5, "{console:?}");
        assert!(console[4].starts_with("(switched off"));
    }

    #[test]
    fn a_machine_that_does_not_reach_init_is_switched_off_though_it_speaks() {
        let lines = machine(&[(0, "random: crng init done"), (300, "still booting"), (300, "BOOT 6.1 3.0")]);
        let console = collect_lines(&lines, Instant::now() + Duration::from_millis(100), Duration::from_secs(60));
        assert_eq!(console.len(), 2, "{console:?}");
    }
}

//! `test --kernel`: the kernel's tests on Debian 12's own kernel, in a virtual machine.
//!
//! Kernel, emulator and busybox are Debian's packages, downloaded and unpacked below `target/vm` and never installed:
//! the tests say nothing about this machine, so this machine is left as it is. The processor is emulated (TCG), not
//! borrowed by KVM: that takes a minute, needs no rights, and is the same everywhere.
//!
//! ```text
//! target/vm/root         what the packages hold
//! target/vm/initramfs    busybox, setpriv, the test program, its libraries, and /init
//! ```

mod fetch;
mod guest;

use std::{
    io::{BufRead, BufReader, Read},
    num::ParseIntError,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use crate::{
    cargo::{cargo, locked, step, target_dir},
    requirements::Task,
    setup::setup,
    tally::Tally,
};

/// The test program that loads the kernel's and nothing else: no lab, no agent.
const PROGRAM: &str = "kernel";
/// Its modules that stay outside: they need root, whole seconds of waiting or more processors than one.
const LEFT_OUT: [&str; 3] = ["libbpf", "stale", "torn"];
/// The whole run, from the emulator's start: it takes a minute on an idle machine.
const RUN_MAX: Duration = Duration::from_mins(10);
/// Between two lines on the console. The longest test takes a few seconds.
const SILENCE_MAX: Duration = Duration::from_mins(3);
/// Lines read but not yet shown.
const LINES_WAITING: usize = 64;
const MEMORY_MIB: &str = "1024";

/// Runs [`PROGRAM`] without [`LEFT_OUT`] in the virtual machine, with the capabilities of the service alone.
pub fn test(root: &Path, filter: Option<&str>, arguments: &[String]) -> Result<(), String> {
    setup(Task::Kernel, root)?;
    let place = target_dir().map_err(|error| error.to_string())?.join("vm");
    let parts = fetch::fetch(&place)?;
    let program = test_program(root)?;
    let left_out = LEFT_OUT.map(|module| format!("{module}::"));
    let mut call: Vec<&str> = filter.into_iter().collect();
    call.extend(left_out.iter().flat_map(|module| ["--skip", module.as_str()]));
    // One processor gains nothing by threads, and the console stays readable.
    call.extend(["--nocapture", "--test-threads=1"]);
    call.extend(arguments.iter().map(String::as_str));
    let initramfs = guest::initramfs(&place, &parts, (PROGRAM, &program), &call)?;

    eprintln!("xtask: the kernel's tests on {}, emulated", parts.release);
    let begun = Instant::now();
    let mut machine = Machine::start(&parts, &initramfs)?;
    let seen = machine.watch(begun)?;
    eprintln!(
        "xtask: {}: {}, {:.0} s; the verifier {}",
        parts.release,
        seen.tally,
        begun.elapsed().as_secs_f64(),
        seen.verifier.as_deref().unwrap_or("was not asked (a filter?)"),
    );
    seen.verdict()
}

/// Builds the test program and finds it.
fn test_program(root: &Path) -> Result<PathBuf, String> {
    let selection = ["--release", "--package", "tests", "--no-run", "--test", PROGRAM];
    let mut build = cargo(root);
    build.arg("test").args(selection).args(locked());
    step("building the kernel's tests (release)", &mut build)?;
    let mut ask = cargo(root);
    ask.arg("test").args(selection).args(locked()).args(["--quiet", "--message-format=json"]);
    let output = ask.output().map_err(|error| format!("cargo test: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let file = executable(&text, PROGRAM).ok_or_else(|| format!("cargo names no test program {PROGRAM}"))?;
    Ok(PathBuf::from(file))
}

/// The program that cargo's JSON lines name for a test target.
fn executable<'a>(messages: &'a str, target: &str) -> Option<&'a str> {
    let named = format!("\"name\":\"{target}\"");
    let line = messages.lines().find(|line| line.contains(&named) && line.contains("\"executable\":\""))?;
    line.split_once("\"executable\":\"")?.1.split('"').next()
}

/// The emulator; it does not outlive this.
struct Machine {
    emulator: Child,
    lines: Receiver<String>,
    complaints: Option<std::process::ChildStderr>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

impl Machine {
    fn start(parts: &fetch::Parts, initramfs: &Path) -> Result<Self, String> {
        let mut command = Command::new(&parts.emulator);
        for firmware in &parts.firmware {
            command.arg("-L").arg(firmware);
        }
        if let Some(libraries) = &parts.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
            .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"])
            .args(["-accel", "tcg", "-cpu", "max", "-m", MEMORY_MIB, "-append", "console=ttyS0 quiet panic=-1"])
            .arg("-kernel")
            .arg(&parts.kernel)
            .arg("-initrd")
            .arg(initramfs)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut emulator = command.spawn().map_err(|error| format!("{}: {error}", parts.emulator.display()))?;
        let (sender, lines) = mpsc::sync_channel(LINES_WAITING);
        if let Some(console) = emulator.stdout.take() {
            // Ends with the console, that is with the emulator.
            thread::spawn(move || {
                for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let complaints = emulator.stderr.take();
        Ok(Self { emulator, lines, complaints })
    }

    /// Shows the console until the machine is off.
    fn watch(&mut self, begun: Instant) -> Result<Seen, String> {
        let mut seen = Seen::default();
        loop {
            let left = RUN_MAX.saturating_sub(begun.elapsed());
            match self.lines.recv_timeout(left.min(SILENCE_MAX)) {
                Ok(line) => {
                    println!("  vm: {line}");
                    seen.add_line(&line);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let what = if left > SILENCE_MAX {
                        format!("said nothing for {} s", SILENCE_MAX.as_secs())
                    } else {
                        format!("was not done after {} s", RUN_MAX.as_secs())
                    };
                    return Err(format!("the virtual machine {what}; the last lines above say where it was"));
                }
            }
        }
        let mut complaints = String::new();
        if let Some(mut stderr) = self.complaints.take() {
            let _ = stderr.read_to_string(&mut complaints);
        }
        if !complaints.trim().is_empty() {
            eprintln!("xtask: the emulator says: {}", complaints.trim());
        }
        Ok(seen)
    }
}

/// The console's lines so far, as far as they matter.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    tally: Tally,
    verifier: Option<String>,
    /// The test program's status once it has ended, which may be no number.
    ended: Option<Result<i32, ParseIntError>>,
}

impl Seen {
    fn add_line(&mut self, line: &str) {
        self.tally.add_line(line);
        // With --nocapture the words may stand behind libtest's own `test … ... `.
        if let Some((_, words)) = line.split_once("the verifier looked at ") {
            self.verifier = Some(format!("looked at {words}"));
        }
        if let Some(status) = line.strip_prefix(guest::ENDED) {
            self.ended = Some(status.trim().parse());
        }
    }

    fn verdict(&self) -> Result<(), String> {
        match &self.ended {
            None => Err("the virtual machine ended before the tests did".to_owned()),
            Some(Err(_)) => Err("how the tests ended in the virtual machine is not known".to_owned()),
            Some(Ok(0)) if self.tally.passed == 0 => Err("no test ran in the virtual machine".to_owned()),
            Some(Ok(0)) => Ok(()),
            Some(Ok(status)) => Err(format!("the tests failed in the virtual machine (status {status})")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(lines: &[&str]) -> Seen {
        let mut seen = Seen::default();
        for line in lines {
            seen.add_line(line);
        }
        seen
    }

    #[test]
    fn only_a_run_that_ended_well_is_good() {
        let looked = "test the_verifier ... the verifier looked at 9 instructions of 5";
        let result = "test result: ok. 8 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 4.49s";
        let ended = "vm: ended with 0";
        let good = seen(&["Linux version 6.1.0", looked, result, ended]);
        assert_eq!(good.verifier.as_deref(), Some("looked at 9 instructions of 5"));
        assert_eq!((good.tally.passed, good.verdict()), (8, Ok(())));
        let bad = seen(&[result, "vm: ended with 101"]).verdict().unwrap_err();
        assert!(bad.contains("failed"), "{bad}");
        let bad = seen(&[result]).verdict().unwrap_err();
        assert!(bad.contains("before the tests did"), "the kernel panicked after the tests: {bad}");
        assert!(seen(&[ended]).verdict().is_err(), "the filter matched nothing");
        assert!(seen(&[result, "vm: ended with "]).verdict().is_err());
    }

    /// A module that is left out by a name that it no longer has would run inside.
    #[test]
    fn what_is_left_out_is_there() {
        let main = crate::cargo::root().unwrap().join("tests/tests").join(PROGRAM).join("main.rs");
        let modules = std::fs::read_to_string(main).unwrap();
        assert!(LEFT_OUT.iter().all(|module| modules.contains(&format!("\nmod {module};\n"))), "{modules}");
    }

    #[test]
    fn the_test_program_is_found_among_the_messages() {
        let messages = concat!(
            r#"{"target":{"name":"tests"},"executable":null}"#,
            "\n",
            r#"{"target":{"name":"kernel"},"executable":"target/release/deps/kernel-12"}"#,
            "\n"
        );
        assert_eq!(executable(messages, "kernel"), Some("target/release/deps/kernel-12"));
        assert_eq!(executable(messages, "tests"), None);
    }
}

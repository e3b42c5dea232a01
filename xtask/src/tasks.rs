//! build, run, test, chaos, docs and bench.

mod book;
mod reference;
mod tables;

use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, IsTerminal},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    cargo::{cargo, locked, step, target_dir},
    host,
    requirements::Task,
    setup::setup,
    tally::Tally,
};

/// Where tests and the lab find the agent.
const AGENT_ENV: &str = "ZEROTTL_BIN";
/// Where the package's test finds this program.
const XTASK_ENV: &str = "ZEROTTL_XTASK";

/// The variables that `--long` sets, which `kernel/differential.rs`, `agent/flood.rs`, `kernel/torn.rs`,
/// `pure/site_differential.rs`, `pure/site_model_check.rs` and `site/session_chaos.rs` read: questions, seconds, answers,
/// requests, worlds, rounds of each kind.
const LONG: [(&str, &str); 6] = [
    ("ZEROTTL_DIFFERENTIAL", "1000000"),
    ("ZEROTTL_FLOOD_SECONDS", "10"),
    ("ZEROTTL_TORN", "10000000"),
    ("ZEROTTL_SITE_DIFFERENTIAL", "1000000"),
    ("ZEROTTL_SITE_WORLDS", "all"),
    ("ZEROTTL_CHAOS_ROUNDS", "50"),
];

/// Sets up and builds the release binary.
pub fn build(root: &Path) -> Result<(), String> {
    setup(Task::Build, root)?;
    build_release(root, &["zerottl"])
}

/// Runs the lab, or the variant of it that an option names, or the agent with `arguments`. Returns only on failure.
pub fn run(root: &Path, variant: Option<&str>, arguments: &[String]) -> Result<(), String> {
    let release = release_dir()?;
    let agent = release.join("zerottl");
    let mut program = if arguments.is_empty() {
        setup(Task::Run, root)?;
        host::kernel_ready().map_err(|why| format!("the lab cannot run here: {why}"))?;
        build_release(root, &["zerottl", "lab", "counter", "app-server"])?;
        let mut lab = Command::new(release.join("lab"));
        lab.env(AGENT_ENV, &agent).args(variant);
        lab
    } else {
        build(root)?;
        let mut program = Command::new(agent);
        program.arg("run").args(arguments);
        program
    };
    let error = program.exec();
    Err(format!("{}: {error}", program.get_program().display()))
}

fn release_dir() -> Result<PathBuf, String> {
    Ok(target_dir().map_err(|error| error.to_string())?.join("release"))
}

fn build_release(root: &Path, programs: &[&str]) -> Result<(), String> {
    let mut command = cargo(root);
    command.args(["build", "--release", "--package", "zerottl"]).args(locked());
    if programs.iter().any(|program| *program != "zerottl") {
        command.args(["--package", "tests"]);
    }
    for program in programs {
        command.args(["--bin", program]);
    }
    step(&format!("building {} (release)", programs.join(" and ")), &mut command).map(drop)
}

/// One call of `cargo test` and how it ended.
struct Outcome {
    what: &'static str,
    result: Result<(), String>,
    tally: Tally,
    elapsed: Duration,
}

/// The packages whose tests meet the kernel and the network. They are built with the agent, as features of what others test
/// with would make everything be built twice.
const OF_RELEASE: [&str; 4] = ["--package", "tests", "--package", "benches"];

/// Runs every test. Unit and property tests are built with overflow checks and debug assertions, and so are the test programs
/// of the crates; those that meet the kernel or the network are built like the agent they run, for release; `long` makes them
/// longer (see [`LONG`]).
pub fn test(root: &Path, filter: Option<&str>, long: bool, arguments: &[String]) -> Result<(), String> {
    let begun = Instant::now();
    setup(Task::Test, root)?;
    let kernel = host::kernel_ready();
    if let (true, Err(why)) = (host::is_ci(), &kernel) {
        return Err(format!("CI is set and the kernel and namespace tests cannot run: {why}"));
    }
    let mut agent = cargo(root);
    agent
        .args(["build", "--release", "--package", "zerottl"])
        .args(OF_RELEASE)
        .args(["--bin", "zerottl", "--bin", "lab"]);
    step("building zerottl and lab (release)", agent.args(locked()))?;

    let run = |what, selection: &[&str], env: &[(&str, &str)]| run_tests(root, what, selection, env, filter, arguments);
    let suite = |what, selection: &[&str]| run(what, selection, &[]);
    let programs = test_programs(root);
    let programs = programs.iter().flat_map(|name| ["--test", name]);
    let units: Vec<&str> = ["--workspace", "--lib", "--bins"].into_iter().chain(programs).collect();
    let mut outcomes = vec![
        suite("unit and property tests", &units)?,
        suite("documentation examples", &["--workspace", "--doc"])?,
        suite("house rules", &["--package", "xtask", "--test", "*"])?,
    ];
    if kernel.is_ok() {
        let selection = [&OF_RELEASE[..], &["--release", "--test", "*"]].concat();
        let env: &[(&str, &str)] = if long { &LONG } else { &[] };
        outcomes.push(run("kernel and namespace tests", &selection, env)?);
    }

    eprintln!("\nxtask: summary");
    for Outcome { what, result, tally, elapsed } in &outcomes {
        let verdict = if result.is_ok() { "ok    " } else { "FAILED" };
        eprintln!("  {verdict} {what:<28} {tally}, {:.0} s with its build", elapsed.as_secs_f64());
    }
    if let Err(why) = &kernel {
        eprintln!("  NOT TESTED, because {why}:");
        for file in kernel_tests(root) {
            eprintln!("    {file}");
        }
    }
    eprintln!("  {:.0} s in all", begun.elapsed().as_secs_f64());

    let ran: u64 = outcomes.iter().map(|outcome| outcome.tally.passed + outcome.tally.failed).sum();
    if let Some(failed) = outcomes.iter().find_map(|outcome| outcome.result.as_ref().err()) {
        return Err(failed.clone());
    }
    if ran == 0 {
        return Err("no test ran".to_owned());
    }
    Ok(())
}

fn run_tests(
    root: &Path,
    what: &'static str,
    selection: &[&str],
    env: &[(&str, &str)],
    filter: Option<&str>,
    arguments: &[String],
) -> Result<Outcome, String> {
    eprintln!("xtask: {what}");
    let mut command = cargo(root);
    command.arg("test").args(selection).arg("--no-fail-fast").args(locked()).args(filter);
    command.env(AGENT_ENV, release_dir()?.join("zerottl")).envs(env.iter().copied());
    command.envs(std::env::current_exe().ok().map(|own| (XTASK_ENV, own)));
    // The output is read here to count, so the test programs no longer see the terminal themselves.
    let color = std::io::stdout().is_terminal();
    command.args(["--color", if color { "always" } else { "auto" }, "--"]).args(arguments);
    if color {
        command.args(["--color", "always"]);
    }

    let begun = Instant::now();
    let failed = |error: std::io::Error| format!("{what}: {error}");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut tally = Tally::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.map_err(failed)?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            tally.add_line(&line);
        }
    }
    let status = child.wait().map_err(failed)?;
    let result = if status.success() { Ok(()) } else { Err(format!("{what} failed ({status})")) };
    Ok(Outcome { what, result, tally, elapsed: begun.elapsed() })
}

/// The names of the crates' test programs.
fn test_programs(root: &Path) -> Vec<String> {
    let crates = entries(&root.join("userspace"));
    let paths = crates.into_iter().chain([root.join("xdp-ebpf")]).flat_map(|package| entries(&package.join("tests")));
    let is_program =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file();
    let name = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    let mut names: Vec<String> = paths.filter(is_program).filter_map(name).collect();
    names.sort();
    names
}

/// Lists the files of the last suite's test programs, for the list of what was not tested.
fn kernel_tests(root: &Path) -> Vec<String> {
    let programs = ["tests", "benches"].into_iter().flat_map(|package| entries(&root.join(package).join("tests")));
    let modules = programs.flat_map(|path| {
        let of_folder = if path.join("main.rs").is_file() { entries(&path) } else { Vec::new() };
        of_folder.into_iter().chain([path])
    });
    let sources = modules.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let mut files: Vec<_> =
        sources.filter_map(|path| Some(path.strip_prefix(root).ok()?.display().to_string())).collect();
    files.retain(|file| !file.ends_with("/main.rs"));
    files.sort();
    files
}

/// The entries of a folder; none where there is no such folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Programs of the package `tests` that make documents, each with its argument below `docs`.
const DOCUMENTS: &[(&str, &str)] =
    &[("outputs", "outputs.md"), ("load_plot", ""), ("screenshots", ""), ("site_walk", "")];

/// Makes the documents that come from the source itself: no program is built or run for them.
pub fn docs_from_source(root: &Path) -> Result<(), String> {
    reference::write(root)?;
    tables::write(root)
}

/// Makes the documents, then renders the book where mdBook is installed; only renders it with `only_book`.
pub fn docs(root: &Path, only_book: bool) -> Result<(), String> {
    if only_book {
        return book::render(root);
    }
    docs_from_source(root)?;
    // Chromium takes the pictures.
    setup(Task::Test, root)?;
    host::kernel_ready().map_err(|why| format!("the lab cannot run here: {why}"))?;
    let programs: Vec<&str> =
        ["zerottl", "counter"].into_iter().chain(DOCUMENTS.iter().map(|(program, _)| *program)).collect();
    build_release(root, &programs)?;
    let release = release_dir()?;
    for (program, document) in DOCUMENTS {
        let mut command = Command::new(release.join(program));
        command.arg(root.join("docs").join(document)).env(AGENT_ENV, release.join("zerottl"));
        step(&format!("docs/{document}"), &mut command)?;
    }
    if let Err(why) = book::render(root) {
        eprintln!("xtask: {why}");
    }
    Ok(())
}

/// Runs the scenarios of chaos.
pub fn chaos(root: &Path, arguments: &[OsString]) -> Result<(), String> {
    setup(Task::Test, root)?;
    host::kernel_ready().map_err(|why| format!("the scenarios cannot run here: {why}"))?;
    build_release(root, &["zerottl", "chaos"])?;
    let release = release_dir()?;
    let mut command = Command::new(release.join("chaos"));
    // It finds the checkout as a program does that cargo runs.
    command.args(arguments).env(AGENT_ENV, release.join("zerottl")).env("CARGO_MANIFEST_DIR", root.join("tests"));
    step("chaos", &mut command).map(drop)
}

/// Runs the benchmarks.
pub fn bench(root: &Path, arguments: &[String]) -> Result<(), String> {
    setup(Task::Bench, root)?;
    host::kernel_ready().map_err(|why| format!("the benchmarks cannot run here: {why}"))?;
    build_release(root, &["zerottl"])?;
    let mut command = cargo(root);
    command.args(["bench", "--package", "benches"]).args(locked()).arg("--").args(arguments);
    command.env(AGENT_ENV, release_dir()?.join("zerottl"));
    step("benchmarks: cargo bench --package benches", &mut command).map(drop)
}

/// Holds a page to what [`docs_from_source`] makes. The first line that differs says enough; the whole page twice would bury it.
#[cfg(test)]
#[track_caller]
fn assert_is_current(page: &str, committed: &str, expected: &str) {
    let differing = committed.lines().zip(expected.lines()).find(|(committed, expected)| committed != expected);
    assert_eq!(differing, None, "`cargo xtask docs --from-source` makes {page} anew");
    assert!(committed == expected, "`cargo xtask docs --from-source` makes {page} anew: its length is another");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A variable that no test reads would make `--long` mean nothing, and a bound that no variable of `--long` raises would
    /// never be run long.
    #[test]
    fn the_long_runs_read_their_variables() {
        let programs = crate::cargo::root().unwrap().join("tests/tests");
        let folders = fs::read_dir(programs).unwrap().map(|entry| entry.unwrap().path());
        let sources = folders.flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
        let texts: Vec<String> = sources.filter_map(|path| fs::read_to_string(path).ok()).collect();
        for (name, value) in LONG {
            let reads = |text: &&String| text.contains("env::var(") && text.contains(&format!("\"{name}\""));
            assert!(texts.iter().any(|text| reads(&text)), "no module reads {name}");
            assert!(value == "all" || value.parse::<u64>().is_ok_and(|value| value > 0), "{name}={value}");
        }
        // Read for other reasons: a program's place, and whether to write a file anew.
        let others = [AGENT_ENV, XTASK_ENV, "ZEROTTL_BLESS"];
        for text in &texts {
            for part in text.split("env::var(\"").skip(1) {
                let name = part.split('"').next().unwrap();
                let known = LONG.iter().map(|(name, _)| *name).chain(others).any(|known| known == name);
                assert!(known || !name.starts_with("ZEROTTL_"), "--long does not set {name}");
            }
        }
    }
}

//! Instructions of rounds and plans, counted by valgrind: what they come to does not depend on the machine's mood.
//!
//! `src/bin/instructions.rs` runs under cachegrind, for so many rounds or plans of a state; the difference of two counts is what
//! the further ones took.

use std::{
    fs,
    hint::black_box,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use zerottl_config as config;
use zerottl_core::{
    assess::{Assessor, LoadInputs},
    plan::Planner,
    saved_state::SavedState,
    status::{Assessment, Health},
};
use zerottl_kernel::image::{Bank, Layout};

use crate::error::BenchError;

/// The function that is called again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CountedWork {
    /// The assessment of a round, which finds that nothing has changed
    Round,
    /// A plan made from nothing and laid out
    Plan,
}

/// The call to make, as the arguments of `src/bin/instructions.rs`.
#[derive(Clone, Debug, clap::Parser)]
#[command(about = "Makes rounds or plans, for valgrind to count their instructions")]
pub struct CountArguments {
    /// The function that is called again and again
    #[arg(value_enum)]
    what: CountedWork,
    /// How often
    times: u32,
    /// The configuration
    config: PathBuf,
    /// While all Sites fail
    #[arg(long)]
    all_fail: bool,
}

impl CountArguments {
    /// Does what the arguments say.
    pub fn run(&self) -> Result<(), BenchError> {
        let Self { what, times, config, all_fail } = self;
        let text = fs::read_to_string(config)?;
        let model = Arc::new(config::parse("sites.toml", &text, Path::new(""))?.model);
        let planner = Planner::new(Arc::clone(&model));
        let layout = Layout::new(&planner);
        let mut verdicts = Assessment::unknown(&model).health;
        let health = if *all_fail { Health::Down } else { Health::Up };
        verdicts.iter_mut().for_each(|site| site.fill(health));
        let mut assessor = Assessor::new(Arc::clone(&model), &SavedState::default(), None, Instant::now());
        let mut assess = || {
            let status = assessor.assess(Instant::now(), &verdicts, LoadInputs::default());
            let remarks = assessor.remarks(Instant::now(), &status, false);
            (status, remarks)
        };
        let (first, _) = assess();
        for _ in 0..*times {
            match what {
                CountedWork::Round => {
                    let (status, remarks) = assess();
                    black_box((status.decides_as(&first, false), remarks));
                }
                CountedWork::Plan => {
                    black_box(Bank::new(&layout, &planner.plan(&first, 1)));
                }
            }
        }
        Ok(())
    }
}

/// Instructions of one round or plan of a configuration; `counted` is the program of these [`CountArguments`].
pub fn count(counted: &Path, what: CountedWork, all_fail: bool, config: &Path) -> Result<f64, BenchError> {
    // The first ones find memory and fill the libraries' tables.
    let (few, many) = (2, 7);
    let run = |times| run(counted, what, all_fail, config, times);
    Ok((run(many)? - run(few)?) / f64::from(many - few))
}

fn run(counted: &Path, what: CountedWork, all_fail: bool, config: &Path, times: u32) -> Result<f64, BenchError> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    command
        .arg(counted)
        .args([if what == CountedWork::Round { "round" } else { "plan" }, &times.to_string()])
        .arg(config);
    command.args(all_fail.then_some("--all-fail"));
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("valgrind: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    // `==123== I   refs:      1,234,567`
    let refs = text.lines().find_map(|line| line.split_once("refs:"));
    let count =
        refs.filter(|_| output.status.success()).and_then(|(_, count)| count.trim().replace(',', "").parse().ok());
    count.ok_or_else(|| format!("valgrind counted nothing:\n{text}").into())
}

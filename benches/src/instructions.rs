//! Instructions of rounds and plans, counted by valgrind: what they come to does not depend on the machine's mood.
//!
//! The benchmark calls itself under cachegrind, for so many rounds and plans of a state; the difference of two counts is
//! what the further ones took.

use std::{
    fs,
    hint::black_box,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use zerottl::{
    assess::{Assessor, LoadInputs},
    config,
    kernel::image::{Bank, Layout},
    plan::Planner,
    state::Memory,
    status::{Health, Status},
};

use crate::Failure;

/// What is called again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// The assessment of a round, which finds that nothing has changed
    Round,
    /// A plan made from nothing and laid out
    Plan,
}

/// Rounds or plans, as an argument of the benchmark's.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// What is called again and again
    #[arg(long, hide = true, value_enum, requires_all = ["times", "config"])]
    what: Option<What>,
    /// How often
    #[arg(long, hide = true)]
    times: Option<u32>,
    /// While all Sites fail
    #[arg(long, hide = true)]
    all_fail: bool,
    /// The configuration
    #[arg(long, hide = true)]
    config: Option<std::path::PathBuf>,
}

impl Arguments {
    /// Does what the arguments say, if they say so.
    pub fn run(&self) -> Result<bool, Failure> {
        let (Some(what), Some(times), Some(config)) = (self.what, self.times, &self.config) else { return Ok(false) };
        let text = fs::read_to_string(config)?;
        let model = Arc::new(config::parse("sites.toml", &text, Path::new(""))?.model);
        let planner = Planner::new(Arc::clone(&model));
        let layout = Layout::new(&planner);
        let mut verdicts = Status::unknown(&model).health;
        let health = if self.all_fail { Health::Down } else { Health::Up };
        verdicts.iter_mut().for_each(|site| site.fill(health));
        let mut assessor = Assessor::new(Arc::clone(&model), &Memory::default(), None, Instant::now());
        let mut assess = || {
            let status = assessor.assess(Instant::now(), &verdicts, LoadInputs::default());
            let remarks = assessor.remarks(Instant::now(), &status, false);
            (status, remarks)
        };
        let (first, _) = assess();
        for _ in 0..times {
            match what {
                What::Round => {
                    let (status, remarks) = assess();
                    black_box((status.decides_as(&first, false), remarks));
                }
                What::Plan => {
                    black_box(Bank::new(&layout, &planner.plan(&first, 1)));
                }
            }
        }
        Ok(true)
    }
}

/// Instructions of one round or plan of a configuration.
pub fn count(what: What, all_fail: bool, config: &Path) -> Result<f64, Failure> {
    // The first ones find memory and fill the libraries' tables.
    let (few, many) = (2, 7);
    Ok((run(what, all_fail, config, many)? - run(what, all_fail, config, few)?) / f64::from(many - few))
}

fn run(what: What, all_fail: bool, config: &Path, times: u32) -> Result<f64, Failure> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    command.arg(std::env::current_exe()?).arg("--config").arg(config).args(["--times", &times.to_string()]);
    command.args(["--what", if what == What::Round { "round" } else { "plan" }]);
    command.args(all_fail.then_some("--all-fail"));
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("valgrind: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    // `==123== I   refs:      1,234,567`
    let refs = text.lines().find_map(|line| line.split_once("refs:"));
    let count =
        refs.filter(|_| output.status.success()).and_then(|(_, count)| count.trim().replace(',', "").parse().ok());
    count.ok_or_else(|| format!("valgrind counted nothing:\n{text}").into())
}

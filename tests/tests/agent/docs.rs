//! docs/outputs.md shows what the commands print now.

use std::fs;

use tests::{
    lab::can_run,
    outputs::{page, shape},
    turn::alone,
};

/// Headings, commands and tables' heads, not figures: those are of one run.
#[test]
fn the_outputs_have_their_shape() {
    let _alone = alone();
    if !can_run("docs/outputs.md") {
        return;
    }
    let file = tests::scratch::root().join("docs/outputs.md");
    let committed = fs::read_to_string(file).expect("docs/outputs.md");
    let now = page().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(shape(&committed), shape(&now), "`cargo xtask docs` makes it anew:\n{now}");
}

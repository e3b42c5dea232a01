//! The chapters as a book: what book.toml says, rendered by an installed mdBook. No task needs it and none installs it, since
//! the chapters read well as they are.

use std::{path::Path, process::Command};

use crate::{cargo::step, host};

/// Where book.toml has it put.
const PAGE: &str = "target/book/index.html";

/// Renders the chapters. `Err` says how to get mdBook where there is none.
pub fn render(root: &Path) -> Result<(), String> {
    let Some(program) = host::program("mdbook") else {
        return Err(
            "the book is not rendered, since there is no `mdbook`: `cargo install mdbook --locked` builds one, or get \
                    it from https://github.com/rust-lang/mdBook/releases; then `cargo xtask docs --book`"
                .to_owned(),
        );
    };
    step("book: mdbook build", Command::new(program).arg("build").arg(root))?;
    println!("{}", root.join(PAGE).display());
    Ok(())
}

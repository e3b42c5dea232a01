//! Figures written into a page of the documents, between markers of theirs.

use std::{fs, path::Path};

use crate::error::BenchError;

/// The line after a part's figures.
const END: &str = "<!-- end of the figures -->\n";

/// Writes a part's figures into the page, in place of those that are there.
pub(crate) fn write(page: &Path, part: &str, figures: &str) -> Result<(), BenchError> {
    let text = fs::read_to_string(page).map_err(|error| format!("{}: {error}", page.display()))?;
    let text = replaced(&text, part, figures)
        .ok_or_else(|| format!("{} has no place for the figures of {part}", page.display()))?;
    Ok(fs::write(page, text)?)
}

fn replaced(text: &str, part: &str, figures: &str) -> Option<String> {
    let begin = format!("<!-- figures: {part} -->\n");
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{begin}\n{}\n\n{END}{after}", figures.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_go_between_their_own_markers() {
        let page = "a\n<!-- figures: x -->\nold\n<!-- end of the figures -->\nb\n<!-- figures: y -->\n<!-- end of the figures -->\n";
        let expected = "a\n<!-- figures: x -->\n\nnew\n\n<!-- end of the figures -->\nb\n<!-- figures: y -->\n<!-- end of the figures -->\n";
        assert_eq!(replaced(page, "x", "new\n").unwrap(), expected);
        assert_eq!(replaced(expected, "x", "new\n").unwrap(), expected);
        assert_eq!(replaced(page, "z", "new"), None);
    }
}

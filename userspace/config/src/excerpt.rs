//! The marked piece of a line that is too long to be shown whole.
//!
//! A generated list can be one line of megabytes. Whoever looks at a fault in it wants the piece around it, and the
//! renderer pads marks with formatting widths, which end at 65,535 columns: beyond that it panics.

use std::ops::Range;

use miette::{LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// The longest line that is shown whole, bytes.
const LINE_MAX: usize = 1_000;
/// Bytes shown before a mark, and after its start.
const BEFORE: usize = 40;
const AFTER: usize = 72;

/// One marked place, cut out of its line.
#[derive(Clone, Debug)]
pub(super) struct Excerpt {
    name: String,
    /// Both from 0, the column in characters.
    place: (usize, usize),
    text: String,
    mark: Range<usize>,
}

impl Excerpt {
    /// Cuts `span` out of `text` if any line that would be shown with it is too long. `place` is the span's, from 1.
    pub(super) fn cut(name: &str, text: &str, span: &Range<usize>, place: (usize, usize)) -> Option<Self> {
        if !is_too_long(text, span) {
            return None;
        }
        // Only as far as is shown is looked for the line's ends.
        let first = text.ceil_char_boundary(span.start.saturating_sub(BEFORE));
        let last = text.floor_char_boundary(span.start + AFTER).max(span.start);
        let from = text[first..span.start].rfind(['\n', '\r']).map(|at| first + at + 1);
        let to = text[span.start..last].find(['\n', '\r']).map(|at| span.start + at);
        let before = if from.is_none() && first > 0 { "… " } else { "" };
        let after = if to.is_none() && last < text.len() { " …" } else { "" };
        let (from, to) = (from.unwrap_or(first), to.unwrap_or(last));
        let start = before.len() + span.start - from;
        let mark = start..start + span.end.min(to) - span.start;
        let text = format!("{before}{}{after}", &text[from..to]);
        Some(Self { name: name.to_owned(), place: (place.0 - 1, place.1 - 1), text, mark })
    }

    /// The mark within the excerpt, with the text for it.
    pub(super) fn label(&self, text: Option<&str>) -> LabeledSpan {
        LabeledSpan::new_primary_with_span(text.map(str::to_owned), (self.mark.start, self.mark.len()))
    }
}

/// Whether a line of the span, or one beside it, is longer than is shown.
pub(super) fn is_too_long(text: &str, span: &Range<usize>) -> bool {
    // A span's own lines, and one before and after: what the renderer prints. None of the scans goes farther than the
    // longest line that may be shown, or a file of long lines and many faults would take quadratic time.
    let mut lines_before = 2;
    let (mut start, mut len) = (span.start, 0);
    for byte in text.as_bytes()[..span.start].iter().rev() {
        if *byte == b'\n' {
            lines_before -= 1;
            len = 0;
            if lines_before == 0 {
                break;
            }
        } else {
            len += 1;
            if len > LINE_MAX {
                return true;
            }
        }
        start -= 1;
    }
    let (mut lines_after, mut len) = (2, 0);
    for (at, byte) in text.as_bytes()[start..].iter().enumerate() {
        if *byte == b'\n' {
            len = 0;
            if start + at >= span.end {
                lines_after -= 1;
                if lines_after == 0 {
                    return false;
                }
            }
        } else {
            len += 1;
            if len > LINE_MAX {
                return true;
            }
        }
    }
    false
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        _span: &SourceSpan,
        _context_lines_before: usize,
        _context_lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let whole = SourceSpan::from((0, self.text.len()));
        let (line, column) = self.place;
        Ok(Box::new(MietteSpanContents::new_named(self.name.clone(), self.text.as_bytes(), whole, line, column, 1)))
    }
}

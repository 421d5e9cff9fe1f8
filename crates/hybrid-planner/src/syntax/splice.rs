//! Edits of the caller's text: byte ranges and what stands there instead. Everything else stays.

use std::ops::Range;

use crate::plans::plan::Template;

/// Edits by byte range; they must not overlap (an overlapping later one is dropped).
#[derive(Debug, Default)]
pub(crate) struct Edits {
    list: Vec<(Range<usize>, Template)>,
}

impl Edits {
    /// Puts `text` in place of the bytes.
    pub fn replace(&mut self, range: Range<usize>, text: &str) {
        let mut template = Template::default();
        template.text(text);
        self.replace_with(range, template);
    }

    /// Puts a template in place of the bytes.
    pub fn replace_with(&mut self, range: Range<usize>, template: Template) {
        self.list.push((range, template));
    }

    /// The edited bytes `window` of `text`, as a template.
    pub fn template(mut self, text: &str, window: Range<usize>) -> Template {
        self.list.sort_by_key(|(range, _)| (range.start, range.end));
        let mut out = Template::default();
        let mut at = window.start;
        for (range, template) in self.list {
            if range.start < at || range.end > window.end {
                continue;
            }
            out.text(text.get(at..range.start).unwrap_or_default());
            out.append(template);
            at = range.end;
        }
        out.text(text.get(at..window.end).unwrap_or_default());
        out
    }

    /// The edited text, when no edit holds an arm.
    pub fn apply(self, text: &str) -> String {
        self.template(text, 0..text.len()).plain()
    }
}

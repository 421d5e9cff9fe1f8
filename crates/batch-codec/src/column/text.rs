//! Strings in memory: one run of bytes and where each ends.

use std::sync::Arc;

/// Byte strings; all of them together stay below 4 GiB by the cap on a row group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Text {
    run: Run,
    ends: Vec<u32>,
}

/// The bytes of all strings: their own, or a part of what several pages share.
#[derive(Debug, Clone)]
enum Run {
    Own(Vec<u8>),
    Part(Arc<Vec<u8>>, std::ops::Range<usize>),
}

impl Default for Run {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.ends == other.ends && self.bytes() == other.bytes()
    }
}

impl Eq for Text {}

impl Text {
    /// Strings.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of memory.
    pub(crate) fn memory(&self) -> usize {
        self.bytes().len() + size_of_val(self.ends.as_slice())
    }

    /// All strings end to end.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.run {
            Run::Own(bytes) => bytes,
            Run::Part(bytes, range) => &bytes[range.clone()],
        }
    }

    /// String `at`.
    pub(crate) fn get(&self, at: usize) -> &[u8] {
        let from = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.bytes()[from..self.ends[at] as usize]
    }

    /// Every string.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let (bytes, mut from) = (self.bytes(), 0);
        self.ends.iter().map(move |end| &bytes[std::mem::replace(&mut from, *end as usize)..*end as usize])
    }

    /// Appends one.
    pub(crate) fn push(&mut self, string: &[u8]) {
        self.tail().extend_from_slice(string);
        self.end();
    }

    /// The run of bytes, to append to; [`Text::end`] then closes the string.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        if let Run::Part(..) = self.run {
            self.run = Run::Own(self.bytes().to_vec());
        }
        match &mut self.run {
            Run::Own(bytes) => bytes,
            Run::Part(bytes, _) => Arc::make_mut(bytes),
        }
    }

    /// Ends a string at the end of the run.
    pub(crate) fn end(&mut self) {
        self.ends.push(self.bytes().len() as u32);
    }

    /// Makes room.
    pub(crate) fn reserve(&mut self, strings: usize, bytes: usize) {
        self.ends.reserve(strings);
        self.tail().reserve(bytes);
    }

    /// Appends all of `other`.
    pub(crate) fn append(&mut self, other: Self) {
        if self.ends.is_empty() {
            *self = other;
            return;
        }
        let base = self.bytes().len() as u32;
        self.tail().extend_from_slice(other.bytes());
        self.ends.extend(other.ends.iter().map(|end| end + base));
    }

    /// The strings at these places, in this order.
    pub(crate) fn take(&self, places: &[u32]) -> Self {
        let mut out = Self::default();
        let bytes = places.iter().map(|p| self.get(*p as usize).len()).sum();
        out.reserve(places.len(), bytes);
        places.iter().for_each(|p| out.push(self.get(*p as usize)));
        out
    }

    /// The strings of these runs (start and length), in this order.
    pub(crate) fn gather(&self, runs: &[(u32, u32)]) -> Self {
        let mut out = Self::default();
        for (start, length) in runs {
            (*start..start + length).for_each(|at| out.push(self.get(at as usize)));
        }
        out
    }

    /// Lets [`Text::slice`] share the bytes instead of copying them.
    pub(crate) fn share(&mut self) {
        let length = self.bytes().len();
        if let Run::Own(bytes) = &mut self.run {
            self.run = Run::Part(Arc::new(std::mem::take(bytes)), 0..length);
        }
    }

    /// Strings `from..to`.
    pub(crate) fn slice(&self, from: usize, to: usize) -> Self {
        let start = if from == 0 { 0 } else { self.ends[from - 1] };
        let end = if to == 0 { 0 } else { self.ends[to - 1] };
        let ends = self.ends[from..to].iter().map(|end| end - start).collect();
        let run = match &self.run {
            Run::Own(bytes) => Run::Own(bytes[start as usize..end as usize].to_vec()),
            Run::Part(bytes, range) => {
                Run::Part(Arc::clone(bytes), range.start + start as usize..range.start + end as usize)
            }
        };
        Self { run, ends }
    }

    /// Length of each string.
    pub(crate) fn lengths(&self) -> Vec<u32> {
        let mut from = 0;
        self.ends.iter().map(|end| end - std::mem::replace(&mut from, *end)).collect()
    }

    /// From the run and the lengths; `None` when they do not add up.
    pub(crate) fn from_lengths(bytes: Vec<u8>, lengths: &[u32]) -> Option<Self> {
        let mut end = 0_u32;
        let ends = lengths
            .iter()
            .map(|length| {
                end = end.checked_add(*length)?;
                Some(end)
            })
            .collect::<Option<Vec<u32>>>()?;
        (end as usize == bytes.len()).then_some(Self { run: Run::Own(bytes), ends })
    }
}

//! Strings in memory: one run of bytes and where each ends.

/// Byte strings; all of them together stay below 4 GiB by the cap on a row group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Text {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Text {
    /// Strings.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of memory.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.len() + size_of_val(self.ends.as_slice())
    }

    /// All strings end to end.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// String `at`.
    pub(crate) fn get(&self, at: usize) -> &[u8] {
        let from = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.bytes[from..self.ends[at] as usize]
    }

    /// Every string.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|at| self.get(at))
    }

    /// Appends one.
    pub(crate) fn push(&mut self, string: &[u8]) {
        self.bytes.extend_from_slice(string);
        self.ends.push(self.bytes.len() as u32);
    }

    /// The run of bytes, to append to; [`Text::end`] then closes the string.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Ends a string at the end of the run.
    pub(crate) fn end(&mut self) {
        self.ends.push(self.bytes.len() as u32);
    }

    /// Makes room.
    pub(crate) fn reserve(&mut self, strings: usize, bytes: usize) {
        self.ends.reserve(strings);
        self.bytes.reserve(bytes);
    }

    /// Appends all of `other`.
    pub(crate) fn append(&mut self, other: &Self) {
        let base = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&other.bytes);
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
        (end as usize == bytes.len()).then_some(Self { bytes, ends })
    }
}

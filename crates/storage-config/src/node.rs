//! A YAML document as a tree that keeps everything, and the line of any place in it.
//!
//! `yaml_serde`'s own `Value` stops at the first duplicate key and forgets where things stood. This
//! tree keeps duplicates (so that all of them are reported). Lines come from the parser itself: to
//! find a place, the document is walked again with a visitor that fails exactly there, and the
//! parser says where it was. So flow style, quoting, anchors and comments need no second grammar of
//! ours. It costs one parse per error, of a file of bounded size.

use std::fmt;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the document's order, duplicates included.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// What it is, for "expected …, found …".
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true/false",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a section",
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("plain YAML (no tags)")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(i128::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Int(i128::from(value)))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Int(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

/// A step from a value into one of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The `nth` (from 0) entry with this key.
    Key { key: String, nth: usize },
    /// An element of a list.
    Index(usize),
}

impl Step {
    pub(crate) fn key(key: &str) -> Self {
        Self::Key { key: key.to_owned(), nth: 0 }
    }
}

/// `hot_storage.nodes[1]`.
pub(crate) fn path_text(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        match step {
            Step::Key { key, .. } if text.is_empty() => text.push_str(key),
            Step::Key { key, .. } => {
                text.push('.');
                text.push_str(key);
            }
            Step::Index(n) => text.push_str(&format!("[{n}]")),
        }
    }
    text
}

/// Line (from 1) of the last key or element of `steps`, or of as much of the way as exists.
pub(crate) fn line_of(text: &str, steps: &[Step]) -> Option<u64> {
    (0..=steps.len()).rev().find_map(|n| {
        let error = Seek(&steps[..n]).deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
        // Another error than ours: the way ends here.
        error.to_string().contains(FOUND).then(|| error.location().map(|at| at.line() as u64)).flatten()
    })
}

const FOUND: &str = "storage-config: here it is";

/// Fails with [`FOUND`] at the end of the way.
struct Seek<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { FOUND } else { "a section or a list" })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.0.split_first() else { return Err(de::Error::custom(FOUND)) };
        let Step::Index(wanted) = first else { return Err(de::Error::custom("a list")) };
        for _ in 0..*wanted {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        while seq.next_element_seed(Seek(rest))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.0.split_first() else { return Err(de::Error::custom(FOUND)) };
        let Step::Key { key, nth } = first else { return Err(de::Error::custom("a section")) };
        let mut met = 0;
        while let Some(is_it) = map.next_key_seed(SeekKey { key, stop: rest.is_empty() && met == *nth })? {
            if is_it && met == *nth {
                return map.next_value_seed(Seek(rest));
            }
            met += usize::from(is_it);
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// Says whether the key is `key`; fails with [`FOUND`] when it is and `stop`.
struct SeekKey<'a> {
    key: &'a str,
    stop: bool,
}

impl<'de> DeserializeSeed<'de> for SeekKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for SeekKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<bool, E> {
        let is_it = text == self.key;
        if is_it && self.stop { Err(E::custom(FOUND)) } else { Ok(is_it) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "# a comment\na: {b: 1,\n  \"c\": [x,\n y]}\nd:\n  - e: 1\n\n  - e: 2\n    f: 3\na: 4\n";

    fn line(steps: &[Step]) -> Option<u64> {
        line_of(TEXT, steps)
    }

    #[test]
    fn places_are_found_in_flow_and_block_style() {
        assert_eq!(line(&[Step::key("a"), Step::key("b")]), Some(2));
        assert_eq!(line(&[Step::key("a"), Step::key("c")]), Some(3));
        assert_eq!(line(&[Step::key("a"), Step::key("c"), Step::Index(1)]), Some(4));
        assert_eq!(line(&[Step::key("d")]), Some(5));
        assert_eq!(line(&[Step::key("d"), Step::Index(1), Step::key("f")]), Some(9));
        assert_eq!(line(&[Step::Key { key: "a".into(), nth: 1 }]), Some(10));
    }

    #[test]
    fn a_missing_place_is_its_nearest_parent() {
        assert_eq!(line(&[Step::key("d"), Step::Index(1), Step::key("zz")]), Some(8));
        assert_eq!(line(&[Step::key("d"), Step::Index(7)]), Some(5));
        assert_eq!(line(&[Step::key("nope")]), Some(2));
    }

    #[test]
    fn duplicates_are_kept() {
        let Node::Map(entries) = serde_yaml::from_str(TEXT).unwrap() else { panic!("a map") };
        assert_eq!(entries.iter().map(|(k, _)| k.as_str()).collect::<Vec<_>>(), ["a", "d", "a"]);
    }
}

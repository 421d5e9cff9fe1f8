//! ClickHouse type names, lowered to the few shapes that their Native encodings have.

/// How deep types may nest.
const MAX_DEPTH: usize = 24;
/// Longest type name that is read (an Enum16 with thousands of names).
const MAX_NAME_BYTES: usize = 1 << 20;

/// What the bits of a fixed-width value mean, as far as compression cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Ordered as an unsigned number.
    Unsigned,
    /// Two's complement.
    Signed,
    /// IEEE 754 of 4 or 8 bytes.
    Float,
    /// No order that helps.
    Bytes,
}

/// The shape of a column's Native encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    /// `width` bytes a value.
    Number { width: usize, kind: Kind },
    /// A varint length and as many bytes a value.
    Text,
    /// A byte a value (0 or 1), then the values, those of NULLs included.
    Nullable(Box<Type>),
    /// Ends as cumulative `u64`, then the elements of all rows.
    Array(Box<Type>),
    /// Each field's column after the other.
    Tuple(Vec<Type>),
    /// Keys (of this type, without Nullable) and indices into them.
    LowCardinality(Box<Type>),
}

impl Type {
    /// The shape of a type; `None` when it is not known here.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        if name.len() > MAX_NAME_BYTES {
            return None;
        }
        parse(name.trim(), MAX_DEPTH)
    }

    /// Dictionaries in it, depth first.
    pub(crate) fn dictionaries(&self) -> usize {
        match self {
            Self::Number { .. } | Self::Text => 0,
            Self::LowCardinality(_) => 1,
            Self::Nullable(inner) | Self::Array(inner) => inner.dictionaries(),
            Self::Tuple(fields) => fields.iter().map(Self::dictionaries).sum(),
        }
    }
}

const fn number(width: usize, kind: Kind) -> Type {
    Type::Number { width, kind }
}

fn parse(name: &str, depth: usize) -> Option<Type> {
    let depth = depth.checked_sub(1)?;
    let (head, arguments) = match name.find('(') {
        Some(open) => (name[..open].trim_end(), Some(name[open + 1..].strip_suffix(')')?)),
        None => (name, None),
    };
    match arguments {
        None => plain(head),
        Some(arguments) => parametric(head, arguments, depth),
    }
}

fn plain(name: &str) -> Option<Type> {
    use Kind::{Bytes, Float, Signed, Unsigned};
    Some(match name {
        "UInt8" | "Bool" | "Nothing" => number(1, Unsigned),
        "UInt16" | "Date" | "BFloat16" => number(2, Unsigned),
        "UInt32" | "DateTime" | "IPv4" => number(4, Unsigned),
        "UInt64" => number(8, Unsigned),
        "Int8" => number(1, Signed),
        "Int16" => number(2, Signed),
        "Int32" | "Date32" | "Time" => number(4, Signed),
        "Int64" => number(8, Signed),
        "UInt128" | "Int128" | "UUID" | "IPv6" => number(16, Bytes),
        "UInt256" | "Int256" => number(32, Bytes),
        "Float32" => number(4, Float),
        "Float64" => number(8, Float),
        "String" => Type::Text,
        "Point" => point(),
        "Ring" | "LineString" => array(point()),
        "Polygon" | "MultiLineString" => array(array(point())),
        "MultiPolygon" => array(array(array(point()))),
        _ if name.starts_with("Interval") => number(8, Signed),
        _ => return None,
    })
}

fn point() -> Type {
    Type::Tuple(vec![number(8, Kind::Float); 2])
}

fn array(of: Type) -> Type {
    Type::Array(Box::new(of))
}

fn parametric(head: &str, arguments: &str, depth: usize) -> Option<Type> {
    let only = || parse(arguments.trim(), depth);
    let fields = || {
        let parts = split(arguments)?;
        parts.into_iter().map(|part| field(part, depth)).collect::<Option<Vec<_>>>()
    };
    Some(match head {
        "DateTime" => number(4, Kind::Unsigned),
        "DateTime64" | "Time64" => number(8, Kind::Signed),
        "Enum8" => number(1, Kind::Signed),
        "Enum16" => number(2, Kind::Signed),
        "Decimal32" => number(4, Kind::Signed),
        "Decimal64" => number(8, Kind::Signed),
        "Decimal128" => number(16, Kind::Bytes),
        "Decimal256" => number(32, Kind::Bytes),
        "Decimal" => decimal(arguments)?,
        "FixedString" => {
            let width = arguments.trim().parse().ok().filter(|n| (1..=1 << 16).contains(n))?;
            number(width, Kind::Bytes)
        }
        "Nullable" => match only()? {
            inner @ (Type::Number { .. } | Type::Text) => Type::Nullable(Box::new(inner)),
            _ => return None,
        },
        "LowCardinality" => match only()? {
            Type::Nullable(inner) => Type::LowCardinality(inner),
            inner @ (Type::Number { .. } | Type::Text) => Type::LowCardinality(Box::new(inner)),
            _ => return None,
        },
        "Array" => array(only()?),
        "Map" => array(Type::Tuple(fields().filter(|fields| fields.len() == 2)?)),
        "Nested" => array(Type::Tuple(fields()?)),
        "Tuple" => Type::Tuple(fields()?),
        "SimpleAggregateFunction" => match split(arguments)?.as_slice() {
            [_, inner] => parse(inner.trim(), depth)?,
            _ => return None,
        },
        _ => return None,
    })
}

fn decimal(arguments: &str) -> Option<Type> {
    let precision: u32 = arguments.split(',').next()?.trim().parse().ok()?;
    Some(match precision {
        1..=9 => number(4, Kind::Signed),
        10..=18 => number(8, Kind::Signed),
        19..=38 => number(16, Kind::Bytes),
        39..=76 => number(32, Kind::Bytes),
        _ => return None,
    })
}

/// An element of a tuple: a type, or a name and a type.
fn field(part: &str, depth: usize) -> Option<Type> {
    let part = part.trim();
    if let Some(rest) = part.strip_prefix('`') {
        let end = quoted_end(rest, '`')?;
        return parse(rest[end..].trim(), depth);
    }
    if let Some(known) = parse(part, depth) {
        return Some(known);
    }
    let (_, rest) = part.split_once(' ')?;
    parse(rest.trim(), depth)
}

/// Where a quoted word ends (behind its quote), its opening quote already taken.
fn quoted_end(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

/// Splits at the commas that are in no parentheses and no quotes. Nothing in, nothing out: `None`.
fn split(arguments: &str) -> Option<Vec<&str>> {
    let (mut parts, mut from, mut open, mut at) = (Vec::new(), 0, 0_usize, 0);
    while let Some(c) = arguments[at..].chars().next() {
        let next = at + c.len_utf8();
        at = match c {
            '(' => {
                open += 1;
                next
            }
            ')' => {
                open = open.checked_sub(1)?;
                next
            }
            '\'' | '`' => next + quoted_end(&arguments[next..], c)?,
            ',' if open == 0 => {
                parts.push(&arguments[from..at]);
                from = next;
                next
            }
            _ => next,
        };
    }
    parts.push(&arguments[from..]);
    (open == 0 && parts.iter().all(|part| !part.trim().is_empty())).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_types_have_their_shape() {
        let time = number(8, Kind::Signed);
        let word = Type::LowCardinality(Box::new(Type::Text));
        for (name, expected) in [
            ("DateTime64(3, 'UTC')", time.clone()),
            ("LowCardinality(String)", word.clone()),
            ("LowCardinality(Nullable(String))", word.clone()),
            ("Decimal(18, 8)", number(8, Kind::Signed)),
            ("Decimal(76, 8)", number(32, Kind::Bytes)),
            ("Enum8('a,)b' = 1, 'it\\'s' = 2)", number(1, Kind::Signed)),
            ("Map(LowCardinality(String), Array(String))", array(Type::Tuple(vec![word, array(Type::Text)]))),
            ("Tuple(Date Date, `a b` DateTime64(3), c UInt8)", {
                Type::Tuple(vec![number(2, Kind::Unsigned), time.clone(), number(1, Kind::Unsigned)])
            }),
            ("Tuple(UInt8, String)", Type::Tuple(vec![number(1, Kind::Unsigned), Type::Text])),
            ("Nested(a UInt8, b Nullable(DateTime64(3)))", {
                let nullable = Type::Nullable(Box::new(time));
                array(Type::Tuple(vec![number(1, Kind::Unsigned), nullable]))
            }),
            ("SimpleAggregateFunction(sum, UInt64)", number(8, Kind::Unsigned)),
        ] {
            assert_eq!(Type::parse(name), Some(expected), "{name}");
        }
    }

    #[test]
    fn others_are_not_guessed() {
        let deep = format!("{}UInt8{}", "Array(".repeat(40), ")".repeat(40));
        for name in [
            "",
            "JSON",
            "Dynamic",
            "Variant(String, UInt8)",
            "AggregateFunction(uniq, UInt64)",
            "Array(JSON)",
            "Tuple()",
            "FixedString(0)",
            "Nullable(Array(UInt8))",
            "Decimal(77, 1)",
            "Array(UInt8",
            "Map(String)",
            "Tuple(a UInt8,)",
            deep.as_str(),
        ] {
            assert_eq!(Type::parse(name), None, "{name}");
        }
    }
}

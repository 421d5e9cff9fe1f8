//! Formats of answers: the names of the API, ClickHouse's names, and their media types.
//!
//! Media types are those of ClickHouse's HTTP interface, so that a caller sees the same header as
//! when it asks the engine itself.

/// Format and media type of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerFormat {
    /// ClickHouse's name.
    pub clickhouse: String,
    /// `Content-Type`.
    pub content_type: &'static str,
}

/// Names of the API and what they stand for.
const NAMES: [(&str, &str); 5] = [
    ("json", "JSON"),
    ("ndjson", "JSONEachRow"),
    ("csv", "CSVWithNames"),
    ("arrow", "ArrowStream"),
    ("parquet", "Parquet"),
];

impl AnswerFormat {
    /// By the API's name; the error lists the names there are.
    pub fn named(name: &str) -> Result<Self, String> {
        NAMES.iter().find(|(api, _)| *api == name).map(|(_, format)| Self::clickhouse(format)).ok_or_else(
            || {
                let names: Vec<&str> = NAMES.iter().map(|(api, _)| *api).collect();
                format!("format: {name:?} is not one of {}", names.join(", "))
            },
        )
    }

    /// By ClickHouse's name, as a FORMAT clause gives it.
    pub fn clickhouse(name: &str) -> Self {
        let content_type = match name {
            "JSONEachRow" | "JSONLines" | "NDJSON" | "JSONCompactEachRow" | "JSONStringsEachRow" => {
                "application/x-ndjson; charset=UTF-8"
            }
            "CSV" => "text/csv; charset=UTF-8; header=absent",
            "CSVWithNames" | "CSVWithNamesAndTypes" => "text/csv; charset=UTF-8; header=present",
            "ArrowStream" => "application/vnd.apache.arrow.stream",
            "Arrow" => "application/vnd.apache.arrow.file",
            "Parquet" => "application/vnd.apache.parquet",
            "Native" | "RowBinary" | "RowBinaryWithNames" | "RowBinaryWithNamesAndTypes" => {
                "application/octet-stream"
            }
            "XML" => "application/xml; charset=UTF-8",
            _ if name.starts_with("JSON") => "application/json; charset=UTF-8",
            _ if name.starts_with("TSV") || name.starts_with("TabSeparated") => {
                "text/tab-separated-values; charset=UTF-8"
            }
            _ => "text/plain; charset=UTF-8",
        };
        Self { clickhouse: name.to_owned(), content_type }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = AnswerFormat::named("xlsx").unwrap_err();
        assert!(error.contains("xlsx") && error.contains("json, ndjson, csv, arrow, parquet"), "{error}");
    }

    #[test]
    fn every_name_has_a_media_type_of_its_own() {
        let mut types: Vec<_> =
            NAMES.iter().map(|(api, _)| AnswerFormat::named(api).unwrap().content_type).collect();
        types.sort_unstable();
        types.dedup();
        assert_eq!(types.len(), NAMES.len());
    }
}

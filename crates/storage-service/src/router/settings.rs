//! Settings that a caller may choose although it is read-only.
//!
//! They change how fast, how much, or how an answer is printed, never which rows it has. Everything
//! else stays in the text, where `readonly=1` makes the engine refuse it by name.

use hybrid_planner::{Query, Refusal};

/// Exact names.
const NAMES: [&str; 17] = [
    "date_time_output_format",
    "group_by_two_level_threshold",
    "group_by_two_level_threshold_bytes",
    "log_comment",
    "max_block_size",
    "max_bytes_before_external_group_by",
    "max_bytes_before_external_sort",
    "max_bytes_to_read",
    "max_execution_time",
    "max_result_bytes",
    "max_result_rows",
    "max_rows_to_read",
    "max_threads",
    "optimize_move_to_prewhere",
    "optimize_read_in_order",
    "priority",
    "use_uncompressed_cache",
];
/// How answers are printed.
const PREFIXES: [&str; 2] = ["output_format_", "format_csv_"];

/// The query without its harmless settings, and those, to be sent beside it.
pub fn lift(query: Query) -> Result<(Query, Vec<(String, String)>), Refusal> {
    match query.split_settings() {
        Some((text, settings)) if settings.iter().all(|(name, _)| is_harmless(name)) => {
            Ok((hybrid_planner::read(&text)?, settings))
        }
        _ => Ok((query, Vec::new())),
    }
}

fn is_harmless(name: &str) -> bool {
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_harmful_setting_keeps_all_in_the_text() {
        let (query, settings) =
            lift(hybrid_planner::read("SELECT 1 SETTINGS max_threads=1").unwrap()).unwrap();
        assert_eq!((query.text().trim(), settings.len()), ("SELECT 1", 1));
        let text = "SELECT 1 SETTINGS max_threads=1, readonly=0";
        let (query, settings) = lift(hybrid_planner::read(text).unwrap()).unwrap();
        assert_eq!((query.text(), settings.len()), (text, 0));
    }
}

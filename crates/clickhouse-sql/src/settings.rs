//! Settings that a reader may choose.
//!
//! They change how fast, how much, or how an answer is printed, never which rows it has nor what an
//! expression means. Names are exact: `output_format_schema` writes a file, so no prefix is harmless.
//! Names of settings are case-sensitive.

/// How fast, how much.
const EFFORT: &[&str] = &[
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
    "timeout_before_checking_execution_speed",
    "use_uncompressed_cache",
];

/// How an answer is printed.
const PRINTING: &[&str] = &[
    "date_time_output_format",
    "format_csv_delimiter",
    "format_csv_null_representation",
    "output_format_arrow_compression_method",
    "output_format_arrow_fixed_string_as_fixed_byte_array",
    "output_format_arrow_low_cardinality_as_dictionary",
    "output_format_arrow_string_as_string",
    "output_format_arrow_use_64_bit_indexes_for_dictionary",
    "output_format_arrow_use_signed_indexes_for_dictionary",
    "output_format_binary_encode_types_in_binary_format",
    "output_format_binary_write_json_as_string",
    "output_format_bson_string_as_string",
    "output_format_compression_level",
    "output_format_compression_zstd_window_log",
    "output_format_csv_crlf_end_of_line",
    "output_format_csv_serialize_tuple_into_separate_columns",
    "output_format_decimal_trailing_zeros",
    "output_format_enable_streaming",
    "output_format_float_precision",
    "output_format_json_array_of_rows",
    "output_format_json_escape_forward_slashes",
    "output_format_json_map_as_array_of_tuples",
    "output_format_json_named_tuples_as_objects",
    "output_format_json_pretty_print",
    "output_format_json_quote_64bit_floats",
    "output_format_json_quote_64bit_integers",
    "output_format_json_quote_decimals",
    "output_format_json_quote_denormals",
    "output_format_json_skip_null_value_in_named_tuples",
    "output_format_json_validate_utf8",
    "output_format_markdown_escape_special_characters",
    "output_format_native_encode_types_in_binary_format",
    "output_format_native_use_flattened_dynamic_and_json_serialization",
    "output_format_native_write_json_as_string",
    "output_format_orc_compression_method",
    "output_format_orc_row_index_stride",
    "output_format_orc_string_as_string",
    "output_format_parquet_batch_size",
    "output_format_parquet_compliant_nested_types",
    "output_format_parquet_compression_method",
    "output_format_parquet_data_page_size",
    "output_format_parquet_datetime_as_uint32",
    "output_format_parquet_date_as_uint16",
    "output_format_parquet_enum_as_byte_array",
    "output_format_parquet_fixed_string_as_fixed_byte_array",
    "output_format_parquet_parallel_encoding",
    "output_format_parquet_row_group_size",
    "output_format_parquet_row_group_size_bytes",
    "output_format_parquet_string_as_string",
    "output_format_parquet_use_custom_encoder",
    "output_format_parquet_version",
    "output_format_parquet_write_bloom_filter",
    "output_format_parquet_write_page_index",
    "output_format_pretty_color",
    "output_format_pretty_display_footer_column_names",
    "output_format_pretty_fallback_to_vertical",
    "output_format_pretty_grid_charset",
    "output_format_pretty_highlight_digit_groups",
    "output_format_pretty_highlight_trailing_spaces",
    "output_format_pretty_max_column_name_width_cut_to",
    "output_format_pretty_max_column_pad_width",
    "output_format_pretty_max_rows",
    "output_format_pretty_max_value_width",
    "output_format_pretty_multiline_fields",
    "output_format_pretty_row_numbers",
    "output_format_pretty_single_large_number_tip_threshold",
    "output_format_pretty_squash_consecutive_ms",
    "output_format_sql_insert_include_column_names",
    "output_format_sql_insert_max_batch_size",
    "output_format_sql_insert_quote_names",
    "output_format_sql_insert_table_name",
    "output_format_sql_insert_use_replace",
    "output_format_trim_fixed_string",
    "output_format_tsv_crlf_end_of_line",
    "output_format_values_escape_quote_with_quote",
    "output_format_write_statistics",
];

/// Whether a reader may choose this setting.
pub fn is_harmless(name: &str) -> bool {
    EFFORT.contains(&name) || PRINTING.contains(&name)
}

/// Every harmless setting.
pub fn harmless() -> impl Iterator<Item = &'static str> {
    EFFORT.iter().chain(PRINTING).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_writes_widens_or_shortens_is_not_harmless() {
        for name in [
            "output_format_schema",
            "format_schema",
            "readonly",
            "additional_table_filters",
            "max_memory_usage",
            "result_overflow_mode",
            "session_timezone",
            "MAX_THREADS",
            "output_format_",
        ] {
            assert!(!is_harmless(name), "{name}");
        }
    }
}

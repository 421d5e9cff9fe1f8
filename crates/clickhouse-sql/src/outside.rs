//! Functions that reach beyond an engine's tables: files, the network, other programs, dictionaries
//! (which have sources of their own), SQL in a text; and those that only hold an engine up.
//!
//! Judged by name, in any case: the engine's names are case-sensitive for the most part, and one that
//! is not would be missed otherwise. The lists name what ClickHouse 26.7 has, and what older and newer
//! versions are known to have; a test holds them against a real engine's own tables of functions.

/// Scalar functions. `readonly` does not stop them: the engine even folds `file('…')` while it explains.
const SCALAR: &[&str] = &[
    "aiclassify",
    "aiembed",
    "aiextract",
    "aigenerate",
    "aitranslate",
    "catboostevaluate",
    "evalmlmethod",
    "file",
    "getclienthttpheader",
    "hascolumnintable",
    "joinget",
    "joingetornull",
    "sleep",
    "sleepeachrow",
];

/// Beginnings of scalar functions' names, families of which there are many.
const FAMILIES: &[&str] = &["dictget", "dicthas", "dictisin", "naivebayesclassifier"];

/// Table functions.
const TABLE: &[&str] = &[
    "arrowflight",
    "arrowstream",
    "azureblobstorage",
    "azureblobstoragecluster",
    "cluster",
    "clusterallreplicas",
    "cosn",
    "deltalake",
    "deltalakeazure",
    "deltalakeazurecluster",
    "deltalakecluster",
    "deltalakelocal",
    "deltalakes3",
    "deltalakes3cluster",
    "dictionary",
    "eval",
    "executable",
    "filecluster",
    "filesystem",
    "fuzzquery",
    "gcs",
    "gluecatalog",
    "hdfs",
    "hdfscluster",
    "hive",
    "hudi",
    "hudicluster",
    "iceberg",
    "icebergazure",
    "icebergazurecluster",
    "icebergcluster",
    "iceberghdfs",
    "iceberghdfscluster",
    "iceberglocal",
    "iceberglocalcluster",
    "icebergs3",
    "icebergs3cluster",
    "input",
    "jdbc",
    "kafka",
    "loop",
    "merge",
    "mergetreeanalyzeindexes",
    "mergetreeanalyzeindexesuuid",
    "mergetreeindex",
    "mergetreeparts",
    "mergetreeprojection",
    "mergetreetextindex",
    "mongodb",
    "mysql",
    "odbc",
    "oss",
    "paimon",
    "paimonazure",
    "paimonazurecluster",
    "paimoncluster",
    "paimonhdfs",
    "paimonhdfscluster",
    "paimonlocal",
    "paimons3",
    "paimons3cluster",
    "postgresql",
    "prometheusquery",
    "prometheusqueryrange",
    "python",
    "redis",
    "remote",
    "remotesecure",
    "s3",
    "s3cluster",
    "sqlite",
    "timeseriesdata",
    "timeseriesmetrics",
    "timeseriessamples",
    "timeseriesselector",
    "timeseriestags",
    "url",
    "urlcluster",
    "viewexplain",
    "viewifpermitted",
    "ytsaurus",
];

/// Table functions that make rows from nothing, or from a SELECT that is read like any other. No other
/// may stand where a table stands.
const HARMLESS_TABLE: &[&str] = &[
    "generate_series",
    "generaterandom",
    "generateseries",
    "null",
    "numbers",
    "numbers_mt",
    "primes",
    "values",
    "view",
    "zeros",
    "zeros_mt",
];

/// Whether a call of this function reaches outside.
pub fn is_outside(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    is_scalar(&name) || TABLE.contains(&name.as_str())
}

/// Whether this is a scalar function that reaches outside: even its bare name is something, where
/// functions are handed to others (`arrayMap(file, …)`).
pub(crate) fn is_outside_scalar(name: &str) -> bool {
    is_scalar(&name.to_ascii_lowercase())
}

fn is_scalar(lower: &str) -> bool {
    SCALAR.contains(&lower) || FAMILIES.iter().any(|family| lower.starts_with(family))
}

/// Whether this table function may stand in FROM.
pub fn is_harmless_table_function(name: &str) -> bool {
    HARMLESS_TABLE.contains(&name.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_in_any_case_and_by_family() {
        for name in ["file", "FILE", "S3Cluster", "dictGetUInt64OrDefault", "AIClassify", "eval"] {
            assert!(is_outside(name) && !is_harmless_table_function(name), "{name}");
        }
        for name in ["numbers", "VALUES", "format", "length", "files", "urlPath", "dict"] {
            assert!(!is_outside(name), "{name}");
        }
        assert!(is_harmless_table_function("Numbers") && !is_harmless_table_function("format"));
        assert!(is_outside_scalar("File") && !is_outside_scalar("url"));
    }
}

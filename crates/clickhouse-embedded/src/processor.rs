//! What the library's build asks of the processor.
//!
//! ClickHouse's x86-64 builds are compiled for x86-64-v3 since 26.6. On a processor without it (many NAS
//! models: Celeron J and N) the library ends its process with SIGILL while it is loaded, without a word.

/// The instructions of x86-64-v3 (System V psABI, x86-64 levels) that this processor lacks.
#[must_use]
#[cfg(target_arch = "x86_64")]
pub fn missing() -> Vec<&'static str> {
    macro_rules! lacking {
        ($($name:tt),*) => {
            [$(($name, std::arch::is_x86_feature_detected!($name))),*]
        };
    }
    let needed = lacking!("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe");
    needed.into_iter().filter(|(_, there)| !there).map(|(name, _)| name).collect()
}

/// Other processors' builds choose by themselves.
#[must_use]
#[cfg(not(target_arch = "x86_64"))]
pub fn missing() -> Vec<&'static str> {
    Vec::new()
}

/// Refuses a processor that the library cannot run on.
///
/// # Errors
/// Which instructions are missing, and what runs there.
pub fn check() -> anyhow::Result<()> {
    refuse(&missing())
}

fn refuse(missing: &[&str]) -> anyhow::Result<()> {
    anyhow::ensure!(
        missing.is_empty(),
        "this processor lacks {}, which the engine's library needs: run ClickHouse 25.8 LTS instead (its Docker \
         image clickhouse/clickhouse-server:25.8, or --clickhouse PROGRAM of such an installation)",
        missing.join(", ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lacks_is_named_with_the_way_out() {
        refuse(&[]).unwrap();
        let error = refuse(&["avx2", "bmi2"]).unwrap_err().to_string();
        assert!(error.contains("lacks avx2, bmi2") && error.contains("25.8"), "{error}");
        assert!(!error.contains('\n'), "one line");
    }
}

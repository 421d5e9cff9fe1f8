//! Warnings and errors in the daemons' logs.

use crate::stack::{Role, Stack};

/// Lines of WARN or ERROR in the logs of both daemons and both engines that hold none of `allowed`.
pub fn unexpected(stack: &Stack, allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for role in Role::ALL {
        let text = std::fs::read(stack.log(role)).unwrap_or_default();
        for line in String::from_utf8_lossy(&text).lines() {
            if severe(line) && !allowed.iter().any(|a| line.contains(a)) {
                found.push(format!("{}: {line}", role.name()));
            }
        }
    }
    found
}

/// JSON lines say their level; anything else a daemon prints (a panic) is severe by itself.
pub fn severe(line: &str) -> bool {
    match serde_json::from_str::<serde_json::Value>(line) {
        Ok(value) => matches!(value.get("level").and_then(|l| l.as_str()), Some("WARN" | "ERROR")),
        Err(_) => line.contains("panicked") || line.contains("WARN") || line.contains("ERROR"),
    }
}

#[cfg(test)]
mod tests {
    use super::severe;

    #[test]
    fn levels_and_panics_are_found() {
        assert!(severe(r#"{"level":"WARN","message":"x"}"#));
        assert!(severe(r#"{"level":"ERROR"}"#));
        assert!(severe("thread 'main' panicked at src/main.rs"));
        assert!(!severe(r#"{"level":"INFO","message":"no ERROR here"}"#));
        assert!(!severe(""));
    }
}

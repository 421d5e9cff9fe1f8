//! What somebody who wrote an unknown key may have meant; also for the YAML that names the same things.

/// `did you mean …` or everything known; never repeats `key`, which may be a misplaced secret.
#[must_use]
pub fn suggestion(key: &str, known: &[&'static str]) -> String {
    let nearest = known.iter().map(|k| (distance(key, k), *k)).min();
    match nearest {
        Some((distance, near)) if distance <= 1 + near.len() / 4 => format!("did you mean `{near}`?"),
        _ => {
            let mut all = known.to_vec();
            all.sort_unstable();
            all.dedup();
            format!("known here: {}", all.join(", "))
        }
    }
}

/// Levenshtein distance, by characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    // A key is short; a hostile one must not cost a quadratic walk.
    for (i, x) in a.chars().take(100).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_named() {
        assert_eq!(distance("shedule", "schedule"), 1);
        assert_eq!(
            suggestion("retention_day", &["nodes", "retention_days"]),
            "did you mean `retention_days`?"
        );
        assert_eq!(suggestion("colour", &["nodes", "type", "nodes"]), "known here: nodes, type");
    }
}

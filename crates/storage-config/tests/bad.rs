//! One bad file per rule. Each says in its head which errors it must give, and marks with `# HERE`
//! the lines they must be reported at (in the same order). Exactly those errors, no more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::{fs, path::Path};

use storage_config::{ConfigErrors, load_cloud_as, load_nas_as};

fn check(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).unwrap();
    let header = |key: &str| -> Vec<String> {
        text.lines().filter_map(|l| l.strip_prefix(&format!("# {key}: "))).map(str::to_owned).collect()
    };
    let expected = header("expect");
    let deployment =
        header("env").first().and_then(|l| l.strip_prefix("DEPLOYMENT_TYPE=").map(str::to_owned));
    let lines: Vec<u64> =
        (1..).zip(text.lines()).filter(|(_, l)| l.ends_with("# HERE")).map(|(n, _)| n).collect();

    let name = path.file_name().unwrap().to_str().unwrap();
    let errors: ConfigErrors = if name.starts_with("cloud_") {
        load_cloud_as(path, deployment.as_deref()).err()
    } else {
        load_nas_as(path, deployment.as_deref()).err()
    }
    .ok_or("was accepted")?;

    let shown = |path: &str, message: &str| {
        if path.is_empty() { message.to_owned() } else { format!("{path}: {message}") }
    };
    let found: Vec<String> = errors.errors.iter().map(|e| shown(&e.path, &e.message)).collect();
    if found != expected || expected.is_empty() {
        return Err(format!("expected {expected:#?}\nfound {found:#?}"));
    }
    for (n, line) in lines.iter().enumerate() {
        let found = errors.errors.get(n).and_then(|e| e.line);
        if found != Some(*line) {
            return Err(format!("error {n} is reported at {found:?}, not at line {line}"));
        }
    }
    let printed = errors.to_string();
    if printed.lines().count() != expected.len() || !printed.starts_with(&path.display().to_string()) {
        return Err(format!("printed as {printed:?}"));
    }
    Ok(())
}

#[test]
fn every_bad_file_gives_exactly_its_errors() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 30, "only {} bad files", files.len());
    let failures: Vec<String> = files
        .iter()
        .filter_map(|file| check(file).err().map(|e| format!("{}: {e}", file.file_name().unwrap().display())))
        .collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), files.len(), failures.join("\n"));
}

#[test]
fn five_mistakes_are_five_errors() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad/cloud_five_errors.yaml");
    assert_eq!(load_cloud_as(&path, None).unwrap_err().errors.len(), 5);
}

/// A secret at its usual place that cannot be followed is not one that was left out.
#[test]
fn a_usual_secret_that_leads_nowhere_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("local_storage.yaml");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/local_storage.yaml");
    fs::copy(shipped, &config).unwrap();
    fs::create_dir(folder.path().join("secrets")).unwrap();
    let told = || match load_nas_as(&config, None) {
        Ok(_) => String::new(),
        Err(errors) => errors.to_string(),
    };
    let before = told();
    std::os::unix::fs::symlink("/nowhere", folder.path().join("secrets/query.password")).unwrap();
    let after = told();
    assert!(!before.contains("query.password") && after.contains("query.password"), "{before}\n{after}");
}

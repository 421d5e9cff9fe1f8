//! `docs/configuration.md` names every key there is, and no other.
//!
//! The daemons' own words are the source: an unknown key is answered with the keys known in its
//! section, so a file with nonsense in every section lists them all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::{collections::BTreeSet, fs, path::Path};

use storage_config::{ConfigErrors, load_cloud_as, load_nas_as};

const NONSENSE: &str = "qqqqqqqqqqqqqqqq";

/// Keys of the table under the heading that names `file`; `tables[].hot` as `tables[0].hot`.
fn documented(file: &str) -> BTreeSet<String> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let text = fs::read_to_string(docs).unwrap();
    let section = text.split("\n## ").find(|s| s.lines().next().unwrap().contains(file)).unwrap().to_owned();
    let keys = section.lines().filter_map(|l| l.strip_prefix("| `")?.split('`').next().map(str::to_owned));
    keys.map(|key| key.replace("[]", "[0]")).collect()
}

/// Keys of the sections in `text`, each of which holds [`NONSENSE`].
fn known(text: &str, load: impl Fn(&Path) -> ConfigErrors) -> BTreeSet<String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.yaml");
    fs::write(&file, text).unwrap();
    let mut keys = BTreeSet::new();
    let mut sections = BTreeSet::new();
    for error in load(&file).errors {
        let Some(section) = error.path.strip_suffix(&format!(".{NONSENSE}")) else { continue };
        sections.insert(section.to_owned());
        let list =
            error.message.strip_prefix("unknown key (known here: ").unwrap().trim_end_matches(')').to_owned();
        keys.extend(list.split(", ").map(|key| format!("{section}.{key}")));
    }
    assert_eq!(sections.len(), text.matches(NONSENSE).count(), "a section was not looked at");
    keys.retain(|key| !sections.contains(key));
    keys
}

fn nonsense(template: &str) -> String {
    template.replace('?', &format!("{NONSENSE}: 1"))
}

#[test]
fn the_services_keys() {
    let text = nonsense(
        "service: {?}\nhot_storage: {?}\ncold_storage_proxy: {?, connection: {?, method: vpn}, fallback: {?}}\n\
         link: {?, peers: [{?}]}\nmigration: {?}\ntables: [{?}]\n",
    );
    let known = known(&text, |file| load_cloud_as(file, None).unwrap_err());
    // Known where the other method is in use, too.
    assert!(known.contains("cold_storage_proxy.connection.proxy_url"));
    assert_eq!(documented("cloud_storage.yaml"), known);
}

#[test]
fn the_gateways_keys() {
    let text = nonsense(
        "service: {?}\nstorage: {?}\nconnection: {?, offline_mode: {?}}\nlimits: {?}\n\
         link: {?, peers: [{?}]}\n",
    );
    assert_eq!(documented("local_storage.yaml"), known(&text, |file| load_nas_as(file, None).unwrap_err()));
}

//! The backing store of a demonstration.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// What the gateway is told: one store, and a namespace of each mode.
const PERSISTER: &str = r#"# Namespaces over a backing store, as evanesce up --demo-store makes them. Change it, and send the gateway a SIGHUP.
log_dir = LOG_DIR

[stores.demo]
kind = "embedded"
path = STORE_DIR

[namespaces.page]
store = "demo"
mode = "read-through"

[namespaces.user]
store = "demo"
mode = "write-through"

[namespaces.session]
store = "demo"
mode = "write-behind"
flush = "100ms"
"#;

/// Where it says so.
pub(crate) fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("persister.toml")
}

/// Says so, unless the operator's own directory says something already.
pub(crate) fn write(data_dir: &Path) -> anyhow::Result<()> {
    let file = file(data_dir);
    if file.exists() {
        return Ok(());
    }
    let quoted = |name: &str| toml::Value::from(data_dir.join(name).display().to_string()).to_string();
    let text = PERSISTER.replace("LOG_DIR", &quoted("log")).replace("STORE_DIR", &quoted("store"));
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_sound_and_what_is_there_stays() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path()).unwrap();
        let faults = evanesce_gateway::persister_file_faults(&file(directory.path()));
        assert!(faults.is_empty(), "{faults:?}");
        std::fs::write(file(directory.path()), "mine").unwrap();
        write(directory.path()).unwrap();
        assert_eq!(std::fs::read_to_string(file(directory.path())).unwrap(), "mine");
    }
}

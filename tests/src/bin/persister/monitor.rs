//! What a Redis server does to its items, in the order it does it, as it tells itself.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;

use crate::kinds::PASSWORD;

/// Listens for as long as the server runs.
pub(crate) struct Monitor {
    applied: Arc<Mutex<Applied>>,
}

#[derive(Default)]
struct Applied {
    count: usize,
    /// The version of each key.
    versions: HashMap<String, String>,
    /// Keys whose version went back.
    back: Vec<String>,
}

impl Monitor {
    pub(crate) fn of(redis: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(redis)?;
        stream.write_all(format!("AUTH {PASSWORD}\r\nMONITOR\r\n").as_bytes())?;
        let mut lines = BufReader::new(stream).lines();
        for what in ["AUTH", "MONITOR"] {
            let line = lines.next().transpose()?.unwrap_or_default();
            anyhow::ensure!(line == "+OK", "{what} was answered {line:?}");
        }
        let applied = Arc::<Mutex<Applied>>::default();
        let told = Arc::clone(&applied);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((key, version)) = change(&line) {
                    told.lock().take(key, version);
                }
            }
        });
        Ok(Self { applied })
    }

    /// How many changes were made, and which keys got something older than they had.
    pub(crate) fn told(&self) -> (usize, Vec<String>) {
        let applied = self.applied.lock();
        (applied.count, applied.back.clone())
    }
}

impl Applied {
    fn take(&mut self, key: &str, version: &str) {
        self.count += 1;
        let before = self.versions.insert(key.to_owned(), version.to_owned());
        // Versions are written so that they are in order as texts.
        if let Some(before) = before.filter(|before| before.as_str() > version) {
            self.back.push(format!("{key} got {version} after {before}"));
        }
    }
}

/// Key and version of an item that a script put there: `... lua] "HSET" "KEY" "v" "VALUE" "f" "FLAGS" "n" "VERSION" ...`.
fn change(line: &str) -> Option<(&str, &str)> {
    let (_, fields) = line.split_once(" lua] \"HSET\" \"")?;
    let mut fields = fields.split("\" \"");
    let key = fields.next()?;
    let version = fields.skip_while(|field| *field != "n").nth(1)?;
    Some((key, version))
}

#[cfg(test)]
mod tests {
    use super::change;

    #[test]
    fn items_that_scripts_put_are_told_from_all_else() {
        let line = r#"+1.2 [0 lua] "HSET" "k:1" "v" "text" "f" "0" "n" "00ff" "x" "0""#;
        assert_eq!(change(line), Some(("k:1", "00ff")));
        assert_eq!(change(r#"+1.2 [0 127.0.0.1:7] "EVALSHA" "sha" "2" "k:1""#), None);
    }
}

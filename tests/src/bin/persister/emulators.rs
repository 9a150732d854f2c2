//! Servers that run on Python: an S3 service of moto's, and files over HTTP.

use std::net::SocketAddr;
use std::path::Path;

use crate::kinds::{PASSWORD, texts};
use crate::server::Server;

/// The access key that the S3 service knows; the password is its secret.
pub(crate) const ACCESS_KEY: &str = "AKIAEVANESCE00000000";

/// The place for objects that the S3 service has.
pub(crate) const S3_PLACE: &str = "evanesce";

/// What the HTTP service has under this name, for a store that cannot write.
pub(crate) const FILE: (&str, &str) = ("there.txt", "found over HTTP");

/// moto, with that place, and a user who must sign.
pub(crate) fn s3(address: SocketAddr, directory: &Path, installed: &Path) -> Server {
    let (python, port) =
        (installed.join("venv/bin/python").display().to_string(), address.port().to_string());
    let command = texts([&python, "tests/persister/s3.py", &port, S3_PLACE, ACCESS_KEY, PASSWORD]);
    Server::new(address, directory, command, None)
}

/// Python's file server.
pub(crate) fn http(address: SocketAddr, directory: &Path) -> anyhow::Result<Server> {
    let files = directory.join("files");
    std::fs::create_dir_all(&files)?;
    std::fs::write(files.join(FILE.0), FILE.1)?;
    let (port, files) = (address.port().to_string(), files.display().to_string());
    let command =
        texts(["python3", "-m", "http.server", &port, "--bind", "127.0.0.1", "--directory", &files]);
    Ok(Server::new(address, directory, command, None))
}

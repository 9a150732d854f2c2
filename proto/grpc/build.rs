//! Compiles the .proto files in pure Rust: no protoc is needed on the machine.

use std::path::PathBuf;
use std::{env, error, fs};

/// Where the packages start.
const INCLUDE: &str = "proto";

/// Every file that defines a service or a message of ours.
const FILES: [&str; 3] =
    ["evanesce/discovery/v1/discovery.proto", "evanesce/admin/v1/admin.proto", "evanesce/peer/v1/peer.proto"];

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo::rerun-if-changed={INCLUDE}");
    let mut compiler = protox::Compiler::new([INCLUDE])?;
    // Source info carries the comments into the generated documentation; imports make the descriptor set complete,
    // which reflection needs.
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(FILES)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("evanesce.descriptors.bin"), compiler.encode_file_descriptor_set())?;
    // Sorted maps: what a person or a test sees has one order.
    tonic_prost_build::configure()
        .btree_map(".")
        .bytes(".evanesce.peer")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

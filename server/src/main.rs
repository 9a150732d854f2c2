//! The `evanesce` binary: one program, several roles.
//!
//! Goals: `main` is flags, configuration, assembly and exit code; what a role does is in the role's package. A
//! configuration is checked as a whole before anything starts. Every process ends in order when told to.
//!
//! Non-goals: serving requests (the roles do), keeping a fleet running (systemd, Kubernetes or `up --restart` do).
//!
//! ```text
//!   evanesce node | discovery | gateway     config ──> run ──> the role's package
//!            up                             plan ──> children of this same binary, watched
//!            ctl                            gRPC to discoveries and processes; the client for get, set, delete
//!            config check | print           config alone
//! ```
//!
//! Exit codes: 0 ended in order, 1 failed (or a miss of `ctl get`), 2 bad usage or configuration.
//!
//! # Example
//!
//! The command line, whole: `evanesce up`, then `evanesce ctl --discovery 127.11.0.1:11300 status`.

mod cli;
mod config;
mod ctl;
mod logging;
mod machine;
mod output;
mod run;
mod stop;
mod table;
mod up;

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Items live in the store's own segments; what is left to an allocator are buffers and large values, which the system's
/// gives back to it more slowly.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::main()
}

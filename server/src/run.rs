//! Runs one role until it is told to end.

use std::process::ExitCode;

use crate::config::Settings;

pub(crate) fn main(settings: Settings) -> ExitCode {
    crate::logging::start(settings.log.as_deref(), settings.log_format);
    crate::machine::raise_descriptor_limit(settings.role.connections_max());
    drop(settings);
    ExitCode::SUCCESS
}

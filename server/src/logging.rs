//! Logs, on standard error.

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// What is logged when nothing says otherwise.
const FILTER_DEFAULT: &str = "info";

/// Checks a filter.
pub(crate) fn check_filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; write a level, or target=level with commas between")),
    }
}

/// Starts logging: by `filter`, else by `RUST_LOG`, else from `info` on.
pub(crate) fn start(filter: Option<&str>, format: LogFormat) {
    let filter = match filter {
        Some(filter) => EnvFilter::new(filter),
        None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER_DEFAULT)),
    };
    // Where nobody reads standard error any more, a line is lost; complaining of it there would end the process.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(colours).init();
        }
        LogFormat::Json => builder.json().init(),
    }
}

//! The process's Prometheus recorder.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;

/// Latency histograms' upper bounds in seconds: from a hit on this machine to a client's whole write deadline.
const LATENCY_BOUNDS_SECONDS: [f64; 14] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0];

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
static INSTALLING: Mutex<()> = Mutex::new(());

/// Installs the Prometheus recorder, once per process, and returns its handle; later calls return the same one.
///
/// [`crate::Bound::start`] calls it where HTTP is on. A process that records metrics before it binds calls it first.
///
/// # Errors
///
/// [`RecorderError`] when the process already has another recorder.
pub fn metrics_recorder() -> Result<PrometheusHandle, RecorderError> {
    let _one_at_a_time = INSTALLING.lock();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets(&LATENCY_BOUNDS_SECONDS)
        .expect("the bounds are not empty")
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| RecorderError::AlreadyInstalled)?;
    Ok(HANDLE.get_or_init(|| handle).clone())
}

/// Why there is no recorder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecorderError {
    /// Something else in this process installed a recorder first: a fault of the program, not of its operator.
    #[error("this process already has a metrics recorder: install evanesce's first, or turn HTTP off")]
    AlreadyInstalled,
}

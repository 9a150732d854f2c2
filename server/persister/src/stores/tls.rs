//! The one provider of cryptography that stores use.

/// Makes ring the provider of this process, if nobody chose one before: with none chosen, clients that leave the choice
/// to the process refuse to start.
pub(super) fn install_provider() {
    // Fails only where one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

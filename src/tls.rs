//! The one implementation of TLS's arithmetic for all that encrypts.

use rustls::crypto::{CryptoProvider, ring};

/// Makes `ring` what rustls and everything upon it computes with; whoever is first wins.
///
/// Called before the first HTTP client is built, which panics without it. ring is chosen because it
/// builds with a C compiler alone.
pub fn install_provider() {
    if CryptoProvider::get_default().is_none() {
        // Two threads may meet here; both bring the same provider.
        drop(ring::default_provider().install_default());
    }
}

//! The one implementation of TLS's arithmetic for all that encrypts.

use base64::Engine as _;
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

/// A number that nobody can guess, as text; none where the system has no randomness to give.
#[must_use]
pub fn nonce() -> Option<String> {
    let mut bytes = [0; 16];
    ring::default_provider().secure_random.fill(&mut bytes).ok()?;
    Some(base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes))
}

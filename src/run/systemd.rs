//! What systemd is told of us, where it asks (`Type=notify` and `Type=notify-reload`).

use sd_notify::NotifyState;
use tracing::debug;

/// Samples are taken in, and the page can be had.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The mapping file is being read again, until [`ready`].
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => debug!(%error, "There is no monotonic clock to tell systemd of a reload."),
    }
}

/// The end has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Without `NOTIFY_SOCKET` in the environment nobody asks, and nothing happens.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "systemd could not be told.");
    }
}

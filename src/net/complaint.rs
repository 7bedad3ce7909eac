//! Warnings that the network could cause without end, held down to one a minute.

use std::time::{Duration, Instant};

/// How long a complaint stays silent after it was let through.
const SILENCE: Duration = Duration::from_mins(1);

/// One reason to warn; it tells when to, and how often it was held back since.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    voiced: Option<Instant>,
    unheard: u64,
}

impl Complaint {
    /// Returns how many times this was held back since the last warning, if it is time for one.
    pub(super) fn voice(&mut self) -> Option<u64> {
        let now = Instant::now();
        if self.voiced.is_some_and(|last| now.duration_since(last) < SILENCE) {
            self.unheard = self.unheard.saturating_add(1);
            return None;
        }
        self.voiced = Some(now);
        Some(std::mem::take(&mut self.unheard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_voiced_once_a_minute() {
        let mut complaint = Complaint::default();
        assert_eq!(complaint.voice(), Some(0));
        assert_eq!(complaint.voice(), None);
        assert_eq!(complaint.voice(), None);
        complaint.voiced = Instant::now().checked_sub(SILENCE);
        assert_eq!(complaint.voice(), Some(2));
    }
}

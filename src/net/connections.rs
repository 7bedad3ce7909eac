//! How many connections there may be, and for how long nothing may come.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// File descriptors that connections leave for everything else, at least.
const RESERVED: usize = 64;

/// Bounds for the connections of all stream sockets together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamLimits {
    /// How many there may be, 0 for any number (`--limits.connections`); by default as many as file descriptors
    /// allow, so that scrapes get one when clients take all they can get.
    pub connections: Option<usize>,
    /// A connection on which nothing came for so long is closed (`--limits.idle-time`).
    pub idle: Option<Duration>,
}

impl StreamLimits {
    /// How many connections there may be.
    pub(super) fn most(self) -> usize {
        let files = open_files();
        match self.connections {
            Some(0) => usize::MAX,
            Some(most) => most,
            None => files.saturating_sub(RESERVED.max(files / 10)).max(1),
        }
    }
}

/// How many files may be open, which is raised as far as the system lets us: the soft limit is often
/// 1,024 for the sake of programs that use `select`, and the reference's runtime raises it as well.
fn open_files() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    current.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_number_connections_leave_files_for_scrapes() {
        let files = open_files();
        let most = StreamLimits::default().most();
        assert!(most >= 1 && most < files, "{most} of {files}");
        for (connections, most) in [(3, 3), (0, usize::MAX)] {
            assert_eq!(StreamLimits { connections: Some(connections), idle: None }.most(), most);
        }
    }
}

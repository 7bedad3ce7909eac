//! The files of `prometheus_client`'s multiprocess mode: what the workers of a server wrote, as one.
//!
//! Each worker process maps files into its memory and writes its values there. Whoever reads them all
//! knows what the server knows, without asking any worker. See <https://prometheus.github.io/client_python/multiprocess/>.

pub mod layout;

pub use layout::Snapshot;

/// Directories of workers' files, and what they hold together.
#[derive(Debug, Default)]
pub struct Multiproc {}

impl Multiproc {
    /// What the files hold at this moment, read now.
    #[must_use]
    pub fn read(&self) -> Snapshot {
        Snapshot::default()
    }
}

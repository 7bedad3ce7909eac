//! Whose rules apply where `statsd_exporter` and its users' clients disagree.

/// Whether tallyd accepts exactly what `statsd_exporter` 0.31 accepts, or more.
///
/// `docs/compatibility.md` lists every difference between the two with its reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Compat {
    /// Line for line what `statsd_exporter` 0.31 accepts, counts and exposes.
    Reference,
    /// Also takes what real clients send and the reference throws away.
    #[default]
    Extended,
}

impl Compat {
    /// Whether the reference's own limits apply.
    #[must_use]
    pub fn is_reference(self) -> bool {
        self == Self::Reference
    }
}

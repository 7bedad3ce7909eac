//! What a series would meet in the registry, for those who ask before a sample comes.

use std::sync::Arc;

use super::families::Families;
use super::{Family, FamilyKind, Registry};

/// What a name and a series find in the registry.
#[derive(Clone, Debug)]
pub enum Standing {
    /// There is no such family; the first sample makes it.
    Free,
    /// The family is there and the series is not.
    NewSeries(Arc<Family>),
    /// The series is there.
    Known(Arc<Family>),
    /// The name belongs to this family, or would be that of one of its samples.
    Taken(Arc<Family>),
    /// The name is that of one of our own metrics.
    Own,
}

impl Registry {
    /// What a series of a kind would meet; `text` is the whole series, `name` its family's.
    #[must_use]
    pub fn standing(&self, text: &str, name: &str, kind: FamilyKind) -> Standing {
        let families = self.families.lock();
        if families.check_name(name, kind).is_err() {
            return families.owner(name).map_or(Standing::Own, Standing::Taken);
        }
        match families.family(name) {
            None => Standing::Free,
            Some(family) if self.index.contains(text.as_bytes()) => Standing::Known(family),
            Some(family) => Standing::NewSeries(family),
        }
    }
}

impl Families {
    /// The family that keeps others from a name.
    fn owner(&self, name: &str) -> Option<Arc<Family>> {
        const SUFFIXES: [&str; 3] = ["_bucket", "_count", "_sum"];
        let shorter = SUFFIXES.iter().filter_map(|suffix| self.family(name.strip_suffix(suffix)?));
        let longer = SUFFIXES.iter().filter_map(|suffix| self.family(&format!("{name}{suffix}")));
        self.family(name).into_iter().chain(shorter).chain(longer).next()
    }
}

//! The families of all sources, as lists tell of them.

use crate::aggregate::view::FamilyView;
use crate::aggregate::{FamilyKind, Reading, Series};
use crate::expose::Joined;
use crate::multiproc::Source;
use crate::multiproc::layout::FamilyLayout;

/// A family of any source.
#[derive(Clone, Copy)]
pub(super) enum AnyFamily<'a> {
    /// One of clients.
    Statsd(&'a FamilyView),
    /// One of workers' files.
    Files(&'a FamilyLayout),
}

/// The families that are shown, those of files last.
pub(super) fn families_of<'a>(
    reading: &'a Reading,
    joined: &'a Joined,
) -> impl Iterator<Item = AnyFamily<'a>> {
    let statsd = reading.view.families().iter().filter(|view| joined.shows(&view.family));
    let files = joined.files().iter().map(|layout| AnyFamily::Files(layout));
    statsd.map(|view| AnyFamily::Statsd(view)).chain(files)
}

impl<'a> AnyFamily<'a> {
    pub(super) fn name(self) -> &'a str {
        match self {
            Self::Statsd(view) => &view.family.name,
            Self::Files(layout) => &layout.name,
        }
    }

    pub(super) fn help(self) -> &'a str {
        match self {
            Self::Statsd(view) => &view.family.help,
            Self::Files(layout) => &layout.help,
        }
    }

    pub(super) fn kind(self) -> FamilyKind {
        match self {
            Self::Statsd(view) => view.family.kind,
            Self::Files(layout) => layout.kind,
        }
    }

    pub(super) fn source(self) -> Source {
        match self {
            Self::Statsd(_) => Source::Statsd,
            Self::Files(_) => Source::Files,
        }
    }

    /// How many series it has; of clients' the cost is a look at each block of them.
    pub(super) fn series(self) -> usize {
        match self {
            Self::Statsd(view) => view.blocks().map(<[_]>::len).sum(),
            Self::Files(layout) => layout.series.len(),
        }
    }

    /// The labels of its series in order, as the page has them.
    pub(super) fn labels(self) -> Box<dyn Iterator<Item = &'a str> + 'a> {
        match self {
            Self::Statsd(view) => Box::new(view.series().map(labels)),
            Self::Files(layout) => Box::new(layout.series.iter().map(|series| &*series.labels)),
        }
    }

    /// The labels of its first series and its last.
    pub(super) fn outer_labels(self) -> impl Iterator<Item = &'a str> {
        let last = match self {
            Self::Statsd(view) => view.blocks().last().and_then(<[_]>::last).map(labels),
            Self::Files(layout) => layout.series.last().map(|series| &*series.labels),
        };
        self.labels().take(1).chain(last)
    }
}

fn labels(series: &Series) -> &str {
    str::from_utf8(series.labels()).unwrap_or_default()
}

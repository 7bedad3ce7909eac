//! What limits kept from the page: `tallyd_limited_samples_total`.

use super::{Interner, MAX_LIMITED};

/// Which limit it was: the `reason` of `tallyd_limited_samples_total`, named after its flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitReason {
    /// Series in all.
    Series,
    /// Series of the family.
    SeriesPerFamily,
    /// Values of a label.
    ValuesPerLabel,
    /// The length of a name, of the metric or of a label.
    NameLength,
    /// The length of a label's value.
    LabelLength,
}

impl LimitReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::Series,
        Self::SeriesPerFamily,
        Self::ValuesPerLabel,
        Self::NameLength,
        Self::LabelLength,
    ];

    /// The label value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Series => "series",
            Self::SeriesPerFamily => "series_per_family",
            Self::ValuesPerLabel => "values_per_label",
            Self::NameLength => "name_length",
            Self::LabelLength => "label_length",
        }
    }
}

/// What was limited, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limited {
    /// The family; empty where there were too many to tell.
    pub metric: Box<str>,
    /// The label that made too many series or is too long; empty where it is not known, or none.
    pub label: Box<str>,
    /// Which limit it was.
    pub reason: LimitReason,
    /// Whether samples went to an overflow series; otherwise they are lost.
    pub overflows: bool,
}

/// The number of a [`Limited`] among a lane's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitedId(pub(super) u32);

/// So many are told apart.
const MAX_TOLD: usize = MAX_LIMITED as usize - 2 * LimitReason::ALL.len();

/// So many names that are no families: a flood of those must leave room for what is one.
const MAX_NEW_NAMES: usize = 100;

/// The number of what was limited; beyond some number only the reason is told.
pub(super) fn intern(
    known: &mut Interner<Limited>,
    limited: &Limited,
    is_family: bool,
) -> LimitedId {
    let most = if is_family { MAX_TOLD } else { MAX_NEW_NAMES };
    let id = known.intern(limited, most).or_else(|| {
        let nameless = Limited { metric: "".into(), label: "".into(), ..*limited };
        known.intern(&nameless, MAX_LIMITED as usize)
    });
    LimitedId(id.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_apart_is_bounded_and_new_names_leave_room_for_families() {
        let mut known = Interner::default();
        let mut told = |metric: String, reason, is_family| {
            let limited =
                Limited { metric: metric.into(), label: "".into(), reason, overflows: false };
            let LimitedId(id) = intern(&mut known, &limited, is_family);
            known.entries[id as usize].metric.len()
        };
        for n in 0..5000 {
            let is_told = told(format!("new{n}"), LimitReason::Series, false) > 0;
            assert_eq!(is_told, n < MAX_NEW_NAMES, "{n}");
        }
        for n in 0..5000 {
            told(format!("f{n}"), LimitReason::SeriesPerFamily, true);
        }
        assert!(told("f0".to_owned(), LimitReason::SeriesPerFamily, true) > 0);
        for reason in LimitReason::ALL {
            assert_eq!(told("another".to_owned(), reason, true), 0);
        }
        assert!(known.entries.len() <= MAX_LIMITED as usize);
    }
}

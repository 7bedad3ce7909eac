//! What became of each dashboard.

use serde::Serialize;

/// What became of all dashboards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing was written, and the rest says what would have been.
    pub dry_run: bool,
    /// One after the other, as they were looked at.
    pub dashboards: Vec<Outcome>,
}

impl Report {
    /// Whether Grafana refused one.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.dashboards.iter().any(|one| one.result == Fate::Failed)
    }

    /// Whether one was left alone.
    #[must_use]
    pub fn has_left_alone(&self) -> bool {
        self.dashboards.iter().any(|one| one.result.is_left_alone())
    }
}

/// What became of one dashboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Its uid.
    pub uid: String,
    /// Its title.
    pub title: String,
    /// What became of it.
    pub result: Fate,
    /// Where to look at it; empty when it is not there.
    pub url: String,
    /// What else there is to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
}

/// What can become of a dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is new.
    Created,
    /// It was written over.
    Updated,
    /// What was there has become another dashboard, and it was written over.
    Copied,
    /// It is gone.
    Deleted,
    /// It says what it should.
    Unchanged,
    /// Somebody changed it, and it was left alone.
    Drifted,
    /// It is not ours, and was left alone.
    Foreign,
    /// It comes from a file on Grafana's machine, and was left alone.
    Provisioned,
    /// Grafana stores it in its newer form, and it was left alone.
    Converted,
    /// Grafana refused it.
    Failed,
}

impl Fate {
    /// The word for it, in labels and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Copied => "copied",
            Self::Deleted => "deleted",
            Self::Unchanged => "unchanged",
            Self::Drifted => "drifted",
            Self::Foreign => "foreign",
            Self::Provisioned => "provisioned",
            Self::Converted => "converted",
            Self::Failed => "failed",
        }
    }

    /// Whether something was written, or would be.
    #[must_use]
    pub fn is_write(self) -> bool {
        matches!(self, Self::Created | Self::Updated | Self::Copied | Self::Deleted)
    }

    /// Whether it is not as it was asked for.
    #[must_use]
    pub fn is_left_alone(self) -> bool {
        matches!(self, Self::Drifted | Self::Foreign | Self::Provisioned | Self::Converted)
    }

    /// What was the matter and what can be done, for those that were left alone.
    #[must_use]
    pub fn advice(self) -> Option<&'static str> {
        Some(match self {
            Self::Drifted => {
                "changed in Grafana since it was written; left as it is (--on-drift overwrite \
                 writes over it, --on-drift copy saves it first)"
            }
            Self::Foreign => {
                "not written by this owner (another --name or --environment, or by hand); left as \
                 it is (--adopt takes it over)"
            }
            Self::Provisioned => {
                "provisioned from a file or a repository, which Grafana lets nobody write over; \
                 change it there"
            }
            Self::Converted => {
                "saved in Grafana's newer form (schema v2), which writing over would flatten; left \
                 as it is (--on-drift overwrite flattens it)"
            }
            _ => return None,
        })
    }
}

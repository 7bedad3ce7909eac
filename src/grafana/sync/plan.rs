//! What has to be done with one dashboard; nothing is done here.
//!
//! | in Grafana there is | then |
//! |---|---|
//! | nothing | it is created |
//! | what we would write | nothing |
//! | what we wrote, and we would write something else now | it is written over |
//! | what we wrote, changed since by somebody else | `--on-drift` decides |
//! | one that is provisioned from a file | it is left alone |
//! | one that Grafana stores in its newer form (schema v2) | it is left alone, or `--on-drift overwrite` |
//! | one with this uid and without our mark | it is left alone, or `--adopt` |
//!
//! Whether somebody changed it is seen in two ways, and it takes both. The version: every save
//! raises it, and ours is in the mark. The content: where its fingerprint is still the one in the
//! mark, a higher version means nothing, for a Grafana that was moved or restored counts anew. The
//! other way round, a content that has changed under our version is the server's own doing: it
//! brings stored dashboards into the form of its newer releases.

use clap::ValueEnum;
use serde_json::Value;

use super::fingerprint::fingerprint;
use super::mark::{Mark, Owner};
use super::report::Fate;
use crate::grafana::client::Stored;

/// What happens to a dashboard that somebody has changed in Grafana.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OnDrift {
    /// It stays as it is
    #[default]
    Keep,
    /// It is written over
    Overwrite,
    /// It is saved as another dashboard, then written over
    Copy,
}

/// What decides between leaving and writing.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Whose dashboards are ours.
    pub owner: Owner,
    /// What happens to changed ones.
    pub on_drift: OnDrift,
    /// Whether a dashboard without our mark is taken over.
    pub adopts: bool,
}

/// What Grafana has under a uid.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// Nothing.
    Missing,
    /// A dashboard in a form that cannot be compared with ours.
    Converted,
    /// A dashboard.
    Present {
        /// Its JSON.
        dashboard: &'a Value,
        /// Its version.
        version: u64,
        /// Whether it comes from a file on Grafana's machine.
        is_provisioned: bool,
    },
}

impl<'a> From<Option<&'a Stored>> for Found<'a> {
    fn from(stored: Option<&'a Stored>) -> Self {
        match stored {
            None => Self::Missing,
            Some(stored) if stored.newer_form.is_some() => Self::Converted,
            Some(stored) => Self::Present {
                dashboard: &stored.json,
                version: stored.revision.version,
                is_provisioned: stored.provisioned,
            },
        }
    }
}

/// What has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write a new one.
    Create,
    /// Write over what is there.
    Update,
    /// Save what is there under another uid, then write over it.
    CopyAndUpdate,
    /// Nothing, and this is what it is then.
    Leave(Fate),
}

/// What has to be done to have `wanted` where `found` is.
#[must_use]
pub fn step(wanted: &Value, found: Found<'_>, rules: &Rules) -> Step {
    let (dashboard, version, is_provisioned) = match found {
        Found::Missing => return Step::Create,
        Found::Converted if rules.on_drift == OnDrift::Overwrite => return Step::Update,
        Found::Converted => return Step::Leave(Fate::Converted),
        Found::Present { dashboard, version, is_provisioned } => {
            (dashboard, version, is_provisioned)
        }
    };
    if is_provisioned {
        return Step::Leave(Fate::Provisioned);
    }
    let (wanted, stored) = (fingerprint(wanted), fingerprint(dashboard));
    let mark = Mark::read(dashboard);
    // One that was imported by hand as it is loses nothing when it becomes ours.
    let is_free = mark.is_none() && wanted == stored;
    let Some(mark) = mark.filter(|mark| mark.owner == rules.owner) else {
        let may_adopt = rules.adopts || is_free;
        return if may_adopt { Step::Update } else { Step::Leave(Fate::Foreign) };
    };
    let is_edited = is_edited(&mark, &stored, version);
    let says_it_all = wanted == stored || mark.fingerprint == Some(wanted);
    match (is_edited, rules.on_drift) {
        (false, _) if says_it_all => Step::Leave(Fate::Unchanged),
        (false, _) | (true, OnDrift::Overwrite) => Step::Update,
        (true, OnDrift::Keep) => Step::Leave(Fate::Drifted),
        (true, OnDrift::Copy) => Step::CopyAndUpdate,
    }
}

/// What has to be done with a dashboard that nothing asks for any more: none for what is to be
/// deleted, else why it stays.
#[must_use]
pub fn reason_to_stay(found: Found<'_>, rules: &Rules) -> Option<Fate> {
    let Found::Present { dashboard, version, is_provisioned } = found else {
        return Some(Fate::Converted);
    };
    let mark = Mark::read(dashboard).filter(|mark| mark.owner == rules.owner);
    match mark {
        None => (!rules.adopts).then_some(Fate::Foreign),
        Some(_) if is_provisioned => Some(Fate::Provisioned),
        Some(mark) => {
            let is_edited = is_edited(&mark, &fingerprint(dashboard), version);
            (is_edited && rules.on_drift != OnDrift::Overwrite).then_some(Fate::Drifted)
        }
    }
}

/// Whether somebody else has changed what we wrote; `stored` is its fingerprint now.
fn is_edited(mark: &Mark, stored: &str, version: u64) -> bool {
    mark.fingerprint.as_deref() != Some(stored) && mark.version != Some(version)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_missing_dashboard_is_created() {
        assert_eq!(step(&json!({}), Found::Missing, &rules(OnDrift::Keep)), Step::Create);
    }

    #[test]
    fn what_says_the_same_is_not_written_again() {
        check(&written(&json!({"title": "A"}), 3), 3, [Step::Leave(Fate::Unchanged); 3]);
        check(&written(&json!({"title": "old"}), 3), 3, [Step::Update; 3]);
    }

    #[test]
    fn the_server_s_own_changes_are_no_drift() {
        let mut migrated = written(&json!({"title": "A"}), 3);
        migrated["schemaVersion"] = 99.into();
        check(&migrated, 3, [Step::Leave(Fate::Unchanged); 3]);
        let mut migrated = written(&json!({"title": "old"}), 3);
        migrated["schemaVersion"] = 99.into();
        check(&migrated, 3, [Step::Update; 3]);
        // Restored into another Grafana, which counts versions anew.
        check(&written(&json!({"title": "A"}), 3), 1, [Step::Leave(Fate::Unchanged); 3]);
    }

    #[test]
    fn a_person_s_edit_is_drift() {
        let mut edited = written(&json!({"title": "A"}), 3);
        edited["title"] = "mine".into();
        let steps = [Step::Leave(Fate::Drifted), Step::Update, Step::CopyAndUpdate];
        check(&edited, 4, steps);
        // Taking only the hash away is an edit as well.
        edited["tags"] = json!(["tallyd", "tallyd:api"]);
        check(&edited, 3, steps);
        // An edit of what would be written anew anyway.
        let mut edited = written(&json!({"title": "old"}), 3);
        edited["title"] = "mine".into();
        check(&edited, 7, steps);
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let foreign = [Step::Leave(Fate::Foreign); 3];
        check(&json!({"title": "B"}), 3, foreign);
        let mut other = json!({"title": "A"});
        Mark::write(&mut other, &Owner::new("other", ""), 3);
        check(&other, 3, foreign);
        check(&json!({"title": "A", "id": 5}), 3, [Step::Update; 3]);
        let adopting = Rules { adopts: true, ..rules(OnDrift::Keep) };
        let found = Found::Present { dashboard: &other, version: 3, is_provisioned: false };
        assert_eq!(step(&json!({"title": "A"}), found, &adopting), Step::Update);
    }

    #[test]
    fn provisioned_and_converted_ones_are_left_alone() {
        let wanted = json!({"title": "A"});
        let dashboard = &written(&json!({"title": "old"}), 3);
        let found = Found::Present { dashboard, version: 3, is_provisioned: true };
        for on_drift in [OnDrift::Keep, OnDrift::Overwrite, OnDrift::Copy] {
            assert_eq!(step(&wanted, found, &rules(on_drift)), Step::Leave(Fate::Provisioned));
        }
        let of = |on_drift| step(&wanted, Found::Converted, &rules(on_drift));
        assert_eq!(of(OnDrift::Keep), Step::Leave(Fate::Converted));
        assert_eq!(of(OnDrift::Copy), Step::Leave(Fate::Converted));
        assert_eq!(of(OnDrift::Overwrite), Step::Update);
    }

    #[test]
    fn only_our_own_unedited_ones_are_deleted() {
        let keep = rules(OnDrift::Keep);
        let why = |dashboard: &Value, version, rules| {
            reason_to_stay(Found::Present { dashboard, version, is_provisioned: false }, rules)
        };
        let ours = written(&json!({"title": "A"}), 3);
        assert_eq!(why(&ours, 3, &keep), None);
        assert_eq!(why(&json!({"title": "A"}), 3, &keep), Some(Fate::Foreign));
        let mut edited = ours;
        edited["title"] = "mine".into();
        assert_eq!(why(&edited, 4, &keep), Some(Fate::Drifted));
        assert_eq!(why(&edited, 4, &rules(OnDrift::Overwrite)), None);
        assert_eq!(reason_to_stay(Found::Converted, &keep), Some(Fate::Converted));
    }

    fn rules(on_drift: OnDrift) -> Rules {
        Rules { owner: Owner::new("api", ""), on_drift, adopts: false }
    }

    fn written(dashboard: &Value, version: u64) -> Value {
        let mut dashboard = dashboard.clone();
        Mark::write(&mut dashboard, &Owner::new("api", ""), version);
        dashboard
    }

    /// The steps under `keep`, `overwrite` and `copy` for a dashboard that says `A`.
    #[track_caller]
    fn check(dashboard: &Value, version: u64, expected: [Step; 3]) {
        let found = Found::Present { dashboard, version, is_provisioned: false };
        let steps = [OnDrift::Keep, OnDrift::Overwrite, OnDrift::Copy]
            .map(|on_drift| step(&json!({"title": "A"}), found, &rules(on_drift)));
        assert_eq!(steps, expected, "{dashboard}");
    }
}

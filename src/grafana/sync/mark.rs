//! How a dashboard remembers who wrote it, what, and when.
//!
//! Three tags: `tallyd` for people and searches, `tallyd:OWNER` for which tallyd, and
//! `hash:FINGERPRINT.VERSION` for what it last wrote and the version that Grafana gave to it. Tags
//! survive every edit in Grafana and every conversion between its APIs.

use serde_json::Value;

use super::fingerprint::{digest, fingerprint};

/// The tag of everything that tallyd writes.
pub const TAG: &str = "tallyd";
const OWNER_PREFIX: &str = "tallyd:";
const HASH_PREFIX: &str = "hash:";
/// Grafana 10 has fifty characters for a tag, and the prefix is seven.
const MAX_OWNER_CHARS: usize = 40;
const DIGEST_CHARS: usize = 16;

/// Whose dashboards they are: all replicas of one service share an owner, others have their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner(String);

impl Owner {
    /// The owner of a service's dashboards in one environment, which may be empty.
    #[must_use]
    pub fn new(name: &str, environment: &str) -> Self {
        let name = if name.trim().is_empty() { "default" } else { name };
        let whole = [name, environment].map(slug);
        let whole = whole.iter().filter(|part| !part.is_empty()).map(String::as_str);
        let whole = whole.collect::<Vec<_>>().join("/");
        if whole.chars().count() <= MAX_OWNER_CHARS {
            return Self(whole);
        }
        let kept = MAX_OWNER_CHARS - DIGEST_CHARS - 1;
        Self(whole.chars().take(kept).collect::<String>() + "-" + &digest(&whole))
    }

    /// The tag that finds its dashboards.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("{OWNER_PREFIX}{}", self.0)
    }

    /// The owner as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Lower case letters and digits, with single dashes for everything between.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

/// What a dashboard remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Whose it is.
    pub owner: Owner,
    /// The fingerprint of what was written; none when a person took the tag away.
    pub fingerprint: Option<String>,
    /// The version that Grafana gave to it; later ones are a person's.
    pub version: Option<u64>,
}

impl Mark {
    /// The marks of a dashboard; none when tallyd never wrote it.
    #[must_use]
    pub fn read(dashboard: &Value) -> Option<Self> {
        let tags: Vec<&str> = tags(dashboard).collect();
        if !tags.contains(&TAG) {
            return None;
        }
        let owner = tags.iter().find_map(|tag| tag.strip_prefix(OWNER_PREFIX))?;
        let hash = tags.iter().find_map(|tag| tag.strip_prefix(HASH_PREFIX));
        let (fingerprint, version) = hash.map_or((None, None), |hash| {
            let (fingerprint, version) = hash.split_once('.').unwrap_or((hash, ""));
            (Some(fingerprint.to_owned()), version.parse().ok())
        });
        Some(Self { owner: Owner(owner.to_owned()), fingerprint, version })
    }

    /// Puts marks on a dashboard in the place of all that it had.
    pub fn write(dashboard: &mut Value, owner: &Owner, version: u64) {
        let hash = format!("{HASH_PREFIX}{}.{version}", fingerprint(dashboard));
        let mut tags = other_tags(dashboard);
        tags.extend([TAG.to_owned(), owner.tag(), hash]);
        if let Value::Object(members) = dashboard {
            members.insert("tags".to_owned(), tags.into());
        }
    }

    /// Takes all marks off a dashboard.
    pub fn remove(dashboard: &mut Value) {
        let tags = other_tags(dashboard);
        if let Value::Object(members) = dashboard {
            members.insert("tags".to_owned(), tags.into());
        }
    }
}

/// The tags of a dashboard that are no marks.
#[must_use]
pub fn other_tags(dashboard: &Value) -> Vec<String> {
    let is_mark =
        |tag: &str| tag == TAG || tag.starts_with(OWNER_PREFIX) || tag.starts_with(HASH_PREFIX);
    tags(dashboard).filter(|tag| !is_mark(tag)).map(str::to_owned).collect()
}

fn tags(dashboard: &Value) -> impl Iterator<Item = &str> {
    let tags = dashboard.get("tags").and_then(Value::as_array);
    tags.into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn marks_are_read_as_they_were_written() {
        let owner = Owner::new("My API", "prod");
        let mut dashboard = json!({"title": "A", "tags": ["x", "hash:old.1"]});
        let fingerprint = fingerprint(&dashboard);
        Mark::write(&mut dashboard, &owner, 4);
        let mark = Mark { owner, fingerprint: Some(fingerprint), version: Some(4) };
        assert_eq!(Mark::read(&dashboard), Some(mark));
        assert_eq!(dashboard["tags"][0], "x");
        Mark::remove(&mut dashboard);
        assert_eq!(dashboard, json!({"title": "A", "tags": ["x"]}));
    }

    #[test]
    fn what_a_person_left_of_the_marks_is_read() {
        let read = |tags: Value| Mark::read(&json!({ "tags": tags }));
        assert_eq!(read(json!([])), None);
        assert_eq!(read(json!(["tallyd:a", "hash:1.2"])), None);
        assert_eq!(read(json!(["tallyd"])), None);
        let mark = read(json!(["tallyd", "tallyd:a", "hash:junk"])).unwrap();
        assert_eq!((mark.fingerprint.as_deref(), mark.version), (Some("junk"), None));
        assert_eq!(read(json!(["tallyd", "tallyd:a"])).unwrap().fingerprint, None);
    }

    #[test]
    fn an_owner_fits_into_a_tag() {
        check_owner("My API", "", "my-api");
        check_owner("My API ", "Prod/EU", "my-api/prod-eu");
        check_owner("", "", "default");
        let long = Owner::new(&"a".repeat(60), "prod");
        assert_eq!(long.as_str().len(), MAX_OWNER_CHARS);
        assert_ne!(long, Owner::new(&"a".repeat(60), "test"));
    }

    #[track_caller]
    fn check_owner(name: &str, environment: &str, expected: &str) {
        assert_eq!(Owner::new(name, environment).as_str(), expected);
    }
}

//! The folder that dashboards go into.

use super::fingerprint::digest;
use crate::grafana::client::{Client, Error, FolderPart, Reason};

/// Between the folders of a path.
const SEPARATOR: char = '/';

/// Where dashboards go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Place {
    /// Into no folder.
    #[default]
    Root,
    /// Into the folder with these titles from the outermost to the innermost; made when missing.
    Titles(Vec<String>),
    /// Into the folder with this uid, which has to be there.
    Uid(String),
}

impl Place {
    /// Reads `Folder` or `Outer/Inner`; empty for the root.
    #[must_use]
    pub fn parse(path: &str) -> Self {
        let titles = path.split(SEPARATOR).map(str::trim).filter(|title| !title.is_empty());
        let titles: Vec<String> = titles.map(str::to_owned).collect();
        if titles.is_empty() { Self::Root } else { Self::Titles(titles) }
    }

    /// The folder's uid, empty for the root; none when it is missing and may not be made.
    ///
    /// # Errors
    /// What Grafana says.
    pub async fn ensure(&self, client: &Client, may_make: bool) -> Result<Option<String>, Error> {
        match self {
            Self::Root => Ok(Some(String::new())),
            Self::Uid(uid) => Ok(Some(uid.clone())),
            Self::Titles(titles) => {
                let mut parent = None;
                let mut path = String::new();
                for title in titles {
                    path.push(SEPARATOR);
                    path.push_str(title);
                    let uid = uid_of(&path);
                    let part = FolderPart { uid: &uid, title };
                    parent = inner(client, part, parent.as_deref(), may_make).await?;
                    if parent.is_none() {
                        return Ok(None);
                    }
                }
                Ok(parent)
            }
        }
    }
}

/// The uid of a folder of ours: the same for all that make it at once, so that one is made.
fn uid_of(path: &str) -> String {
    format!("tallyd-{}", digest(path))
}

/// The folder of a part: ours under whatever title it has by now, else one that a person has made
/// under the title, else a new one.
async fn inner(
    client: &Client,
    part: FolderPart<'_>,
    parent: Option<&str>,
    may_make: bool,
) -> Result<Option<String>, Error> {
    match client.folder(part.uid).await {
        Ok(Some(folder)) => return Ok(Some(folder.uid)),
        Ok(None) => {}
        // Some versions say this of a folder that does not exist.
        Err(error) if error.reason() == Some(Reason::Forbidden) => {}
        Err(error) => return Err(error),
    }
    let same = client.folders(parent).await?.into_iter().find(|folder| folder.title == part.title);
    match same {
        Some(folder) => Ok(Some(folder.uid)),
        None if may_make => Ok(Some(client.ensure_folder(part, parent).await?.uid)),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_from_the_outside() {
        check("", &[]);
        check(" / ", &[]);
        check("StatsD", &["StatsD"]);
        check("Team A / API/", &["Team A", "API"]);
    }

    #[track_caller]
    fn check(path: &str, titles: &[&str]) {
        let titles: Vec<String> = titles.iter().map(ToString::to_string).collect();
        let expected = if titles.is_empty() { Place::Root } else { Place::Titles(titles) };
        assert_eq!(Place::parse(path), expected);
    }
}

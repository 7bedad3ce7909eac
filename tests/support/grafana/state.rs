//! What the stand-in keeps.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::wire::Answer;

/// Tokens of service accounts of the first organisation.
pub(crate) const ADMIN_TOKEN: &str = "glsa_admin";
pub(crate) const EDITOR_TOKEN: &str = "glsa_editor";
pub(crate) const VIEWER_TOKEN: &str = "glsa_viewer";
/// All that happens happens now, so that tests can compare.
pub(crate) const NOW: &str = "2026-01-02T03:04:05Z";

/// Versions that differ in what matters to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Era {
    /// Titles are unique in their folder.
    Ten,
    /// Titles are free, as since 11.3.
    Eleven,
    /// `/apis` begins.
    Twelve,
    /// `/apis` is settled.
    Thirteen,
}

impl Era {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Ten, Self::Eleven, Self::Twelve, Self::Thirteen];

    /// A version of it.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Ten => "10.4.2",
            Self::Eleven => "11.6.1",
            Self::Twelve => "12.1.0",
            Self::Thirteen => "13.0.0",
        }
    }
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Look.
    Viewer,
    /// Write dashboards.
    Editor,
    /// Everything in the organisation.
    Admin,
    /// Everything.
    Server,
}

/// Everything.
pub(crate) struct State {
    pub(crate) era: Era,
    pub(crate) prefix: String,
    pub(crate) prometheus: Option<String>,
    pub(crate) orgs: BTreeMap<u64, Org>,
    pub(crate) users: BTreeMap<u64, User>,
    /// Tokens and what they may do, all in the first organisation.
    pub(crate) tokens: Vec<(String, Role)>,
}

/// One organisation.
#[derive(Default)]
pub(crate) struct Org {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) dashboards: BTreeMap<String, Dashboard>,
    pub(crate) folders: BTreeMap<String, Folder>,
    pub(crate) sources: BTreeMap<String, Map<String, Value>>,
    pub(crate) members: BTreeMap<u64, String>,
    pub(crate) teams: BTreeMap<u64, Team>,
    pub(crate) annotations: BTreeMap<u64, Map<String, Value>>,
    pub(crate) rules: BTreeMap<String, Map<String, Value>>,
    pub(crate) imported: BTreeMap<String, BTreeMap<String, Value>>,
    pub(crate) last_id: u64,
}

/// One dashboard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dashboard {
    pub(crate) id: u64,
    pub(crate) uid: String,
    pub(crate) version: u64,
    /// The mark of `/apis`.
    pub(crate) resource_version: u64,
    pub(crate) json: Map<String, Value>,
    pub(crate) folder: String,
    /// Versions' messages, oldest first.
    pub(crate) messages: Vec<String>,
    pub(crate) permissions: Vec<Value>,
    /// Comes from a file.
    pub(crate) is_provisioned: bool,
    /// Was saved in the newer form, which `/api` cannot tell.
    pub(crate) is_v2: bool,
}

/// One folder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Folder {
    pub(crate) id: u64,
    pub(crate) uid: String,
    pub(crate) title: String,
    pub(crate) parent: String,
    pub(crate) version: u64,
    pub(crate) resource_version: u64,
}

/// One user.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: u64,
    pub(crate) login: String,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) is_server_admin: bool,
    pub(crate) org: u64,
}

/// One team.
#[derive(Clone, Debug, Default)]
pub(crate) struct Team {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) members: Vec<u64>,
}

impl State {
    /// One organisation, one administrator with the password `admin`, one data source `prom`.
    pub(crate) fn new(era: Era) -> Self {
        let mut org = Org { id: 1, name: "Main Org.".to_owned(), ..Org::default() };
        org.members.insert(1, "Admin".to_owned());
        let source = json!({
            "id": 1, "uid": "prom", "orgId": 1, "name": "Prometheus", "type": "prometheus",
            "typeLogoUrl": "", "access": "proxy", "url": "http://127.0.0.1:9090", "user": "",
            "database": "", "basicAuth": false, "isDefault": true, "readOnly": false,
            "jsonData": {"httpMethod": "POST", "timeInterval": "15s"},
        });
        if let Value::Object(source) = source {
            org.sources.insert("prom".to_owned(), source);
        }
        let admin = User {
            id: 1,
            login: "admin".to_owned(),
            email: "admin@localhost".to_owned(),
            name: String::new(),
            password: "admin".to_owned(),
            is_server_admin: true,
            org: 1,
        };
        let tokens = [
            (ADMIN_TOKEN, Role::Admin),
            (EDITOR_TOKEN, Role::Editor),
            (VIEWER_TOKEN, Role::Viewer),
        ];
        Self {
            era,
            prefix: String::new(),
            prometheus: None,
            orgs: BTreeMap::from([(1, org)]),
            users: BTreeMap::from([(1, admin)]),
            tokens: tokens.map(|(token, role)| (token.to_owned(), role)).to_vec(),
        }
    }

    /// The organisation of all tokens.
    #[expect(clippy::unwrap_used, reason = "a helper of tests")]
    pub(crate) fn main_org(&mut self) -> &mut Org {
        self.orgs.get_mut(&1).unwrap()
    }

    /// A dashboard of the first organisation.
    #[expect(clippy::panic, reason = "a helper of tests")]
    pub(crate) fn dashboard(&mut self, uid: &str) -> &mut Dashboard {
        let Some(dashboard) = self.main_org().dashboards.get_mut(uid) else {
            panic!("there is no dashboard {uid}");
        };
        dashboard
    }

    /// Changes a dashboard as a person does in the browser: a new version.
    pub(crate) fn edit(&mut self, uid: &str, edit: impl FnOnce(&mut Map<String, Value>)) {
        let mark = self.main_org().next_id();
        let dashboard = self.dashboard(uid);
        edit(&mut dashboard.json);
        dashboard.version += 1;
        dashboard.resource_version = mark;
        dashboard.json.insert("version".to_owned(), dashboard.version.into());
        dashboard.messages.push("by hand".to_owned());
    }

    /// Puts another token in the place of one.
    pub(crate) fn rotate(&mut self, old: &str, new: &str) {
        for (token, _) in self.tokens.iter_mut().filter(|(token, _)| token == old) {
            new.clone_into(token);
        }
    }
}

impl Org {
    /// Numbers and marks that nothing had before.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// A uid that nothing had before.
    pub(crate) fn new_uid(&mut self) -> String {
        format!("made-{}", self.next_id())
    }
}

/// A dashboard to be put there without a request.
pub(crate) fn dashboard(uid: &str, title: &str, tags: &[&str]) -> Dashboard {
    let json = json!({"uid": uid, "title": title, "tags": tags, "version": 1, "panels": []});
    let json = json.as_object().cloned().unwrap_or_default();
    let messages = vec![String::new()];
    Dashboard { uid: uid.to_owned(), version: 1, json, messages, ..Dashboard::default() }
}

/// A folder to be put there without a request.
pub(crate) fn folder(uid: &str) -> Folder {
    Folder { uid: uid.to_owned(), title: uid.to_owned(), version: 1, ..Folder::default() }
}

/// What follows the uid in a link.
pub(crate) fn slug(title: &str) -> String {
    let dashed: String =
        title.to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    dashed.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

/// Refuses what is no uid.
pub(crate) fn check_uid(uid: &str) -> Result<(), Answer> {
    if uid.len() > 40 {
        return Err(Answer::refuse(400, "uid too long, max 40 characters"));
    }
    if uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        Ok(())
    } else {
        Err(Answer::refuse(400, "uid contains illegal characters"))
    }
}

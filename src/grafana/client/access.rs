//! Organisations, users, teams. Most of it is open only to a server administrator by password.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::call::Call;
use super::config::Secret;
use super::error::Error;
use super::{Client, PAGE_ROWS, found, or_default};

/// An organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Org {
    /// Its number.
    pub id: u64,
    /// Its name.
    #[serde(default)]
    pub name: String,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct User {
    /// The number.
    pub id: u64,
    /// The name to log in with.
    #[serde(default)]
    pub login: String,
    /// The address.
    #[serde(default)]
    pub email: String,
    /// The name.
    #[serde(default)]
    pub name: String,
}

/// A user to be created.
#[derive(Clone, Debug)]
pub struct NewUser<'a> {
    /// The name to log in with.
    pub login: &'a str,
    /// The address.
    pub email: Option<&'a str>,
    /// The name.
    pub name: Option<&'a str>,
    /// The password.
    pub password: &'a Secret,
    /// The organisation to be in; the one for all new users, without.
    pub org_id: Option<u64>,
}

/// What a user may do in an organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum Role {
    /// Nothing but what is granted one by one
    None,
    /// Look
    Viewer,
    /// Change dashboards
    Editor,
    /// Everything in the organisation
    Admin,
}

/// A team of an organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct Team {
    /// Its number.
    pub id: u64,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its address.
    #[serde(default)]
    pub email: String,
    /// How many are in it.
    #[serde(default)]
    pub member_count: u64,
}

/// A user in a team.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct TeamMember {
    /// The user's number.
    pub user_id: u64,
    /// The name to log in with.
    #[serde(default)]
    pub login: String,
    /// The address.
    #[serde(default)]
    pub email: String,
}

#[derive(Deserialize)]
struct CreatedOrg {
    #[serde(rename = "orgId")]
    id: u64,
}

#[derive(Deserialize)]
struct CreatedUser {
    id: u64,
}

#[derive(Deserialize)]
struct CreatedTeam {
    #[serde(rename = "teamId")]
    id: u64,
}

#[derive(Default, Deserialize)]
struct Teams {
    #[serde(default, deserialize_with = "or_default")]
    teams: Vec<Team>,
}

impl From<Teams> for Vec<Team> {
    fn from(page: Teams) -> Self {
        page.teams
    }
}

impl Client {
    /// All organisations.
    ///
    /// # Errors
    /// `Refused` with `Forbidden` for whoever is no server administrator.
    pub async fn orgs(&self) -> Result<Vec<Org>, Error> {
        self.transport().list(Call::get(&["api", "orgs"]).needs("orgs:read")).await
    }

    /// An organisation by its name.
    ///
    /// # Errors
    /// As [`orgs`](Self::orgs).
    pub async fn org_named(&self, name: &str) -> Result<Option<Org>, Error> {
        let call = Call::get(&["api", "orgs", "name", name]).needs("orgs:read");
        found(self.transport().json(call).await)
    }

    /// Creates an organisation and gives its number.
    ///
    /// # Errors
    /// `Refused` with `Exists` when the name is taken.
    pub async fn create_org(&self, name: &str) -> Result<u64, Error> {
        let call = Call::post(&["api", "orgs"], &json!({ "name": name })).needs("orgs:create");
        let created: CreatedOrg = self.transport().json(call).await?;
        Ok(created.id)
    }

    /// Puts a user into an organisation.
    ///
    /// # Errors
    /// `Refused` with `NotFound` for an unknown user, `Exists` for one who is already in it.
    pub async fn add_org_user(&self, org_id: u64, login: &str, role: Role) -> Result<(), Error> {
        let id = org_id.to_string();
        let body = json!({ "loginOrEmail": login, "role": role });
        let call = Call::post(&["api", "orgs", &id, "users"], &body);
        self.transport().send(call.needs("org.users:add")).await?;
        Ok(())
    }

    /// All users, page by page.
    ///
    /// # Errors
    /// `Refused` with `Forbidden` for whoever is no server administrator.
    pub async fn users(&self) -> Result<Vec<User>, Error> {
        let call = Call::get(&["api", "users"]).query("perpage", PAGE_ROWS.to_string());
        self.pages::<Vec<User>, _>(call.needs("users:read")).await
    }

    /// A user by login name or address.
    ///
    /// # Errors
    /// As [`users`](Self::users).
    pub async fn user(&self, login: &str) -> Result<Option<User>, Error> {
        let call = Call::get(&["api", "users", "lookup"]).query("loginOrEmail", login);
        found(self.transport().json(call.needs("users:read")).await)
    }

    /// Creates a user and gives the number.
    ///
    /// # Errors
    /// `Refused` with `Exists` when login or address is taken, `Invalid` for a short password.
    pub async fn create_user(&self, user: &NewUser<'_>) -> Result<u64, Error> {
        let fields: [(&str, Option<Value>); 5] = [
            ("login", Some(user.login.into())),
            ("password", Some(user.password.expose().into())),
            ("email", user.email.map(Value::from)),
            ("name", user.name.map(Value::from)),
            ("orgId", user.org_id.map(Value::from)),
        ];
        let given = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let body = Value::Object(given.collect::<Map<_, _>>());
        let call = Call::post(&["api", "admin", "users"], &body).needs("users:create");
        let created: CreatedUser = self.transport().json(call).await?;
        Ok(created.id)
    }

    /// Gives a user another password.
    ///
    /// # Errors
    /// `Refused` with `Invalid` for a short one.
    pub async fn set_password(&self, user_id: u64, password: &Secret) -> Result<(), Error> {
        let id = user_id.to_string();
        let body = json!({ "password": password.expose() });
        let call = Call::put(&["api", "admin", "users", &id, "password"], &body);
        self.transport().send(call.needs("users.password:write")).await?;
        Ok(())
    }

    /// The teams of the organisation, or the one with this very name.
    ///
    /// # Errors
    /// As any call.
    pub async fn teams(&self, name: Option<&str>) -> Result<Vec<Team>, Error> {
        let mut call =
            Call::get(&["api", "teams", "search"]).query("perpage", PAGE_ROWS.to_string());
        if let Some(name) = name {
            call = call.query("name", name);
        }
        self.pages::<Teams, _>(call.needs("teams:read")).await
    }

    /// Creates a team and gives its number.
    ///
    /// # Errors
    /// `Refused` with `Exists` when the name is taken.
    pub async fn create_team(&self, name: &str) -> Result<u64, Error> {
        let call = Call::post(&["api", "teams"], &json!({ "name": name })).needs("teams:create");
        let created: CreatedTeam = self.transport().json(call).await?;
        Ok(created.id)
    }

    /// Who is in a team.
    ///
    /// # Errors
    /// `Refused` with `NotFound` when there is no such team.
    pub async fn team_members(&self, team_id: u64) -> Result<Vec<TeamMember>, Error> {
        let id = team_id.to_string();
        let call = Call::get(&["api", "teams", &id, "members"]);
        self.transport().list(call.needs("teams.permissions:read")).await
    }

    /// Puts a user into a team.
    ///
    /// # Errors
    /// `Refused` with `Exists` for one who is already in it.
    pub async fn add_team_member(&self, team_id: u64, user_id: u64) -> Result<(), Error> {
        let id = team_id.to_string();
        let call = Call::post(&["api", "teams", &id, "members"], &json!({ "userId": user_id }));
        self.transport().send(call.needs("teams.permissions:write")).await?;
        Ok(())
    }
}

//! `tallyd grafana org`, `user` and `team`: who may look at what.
//!
//! No password is ever an argument: it comes from a file or through stdin.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::CommandError;
use super::connection::{Common, read_secret};
use super::output::table;
use crate::grafana::client::{Client, NewUser, Org, Role, Secret, User};

/// What the writing ones need.
#[derive(Args, Debug)]
pub(super) struct Writing {
    /// Write nothing, and tell what would be written
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

/// Where a new password comes from.
#[derive(Args, Debug)]
pub(super) struct PasswordArgs {
    /// File with the new password [default: the first line of stdin]
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
}

/// `org`.
#[derive(Debug, Subcommand)]
pub(super) enum OrgCommand {
    /// List organisations
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Create an organisation
    Create {
        /// Its name
        name: String,
        #[command(flatten)]
        writing: Writing,
    },
    /// Put a user into an organisation
    Add {
        /// The organisation's name
        org: String,
        /// The user's login or address
        login: String,
        /// What the user may do there
        #[arg(long, value_enum, ignore_case = true, default_value = "Viewer")]
        role: Role,
        #[command(flatten)]
        writing: Writing,
    },
}

/// `user`.
#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// List users
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Create a user; the password comes from a file or stdin
    Create {
        /// The name to log in with
        login: String,
        /// The address
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        /// The name to show
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// The organisation to be in, by its number
        #[arg(long, value_name = "N")]
        in_org: Option<u64>,
        #[command(flatten)]
        password: PasswordArgs,
        #[command(flatten)]
        writing: Writing,
    },
    /// Give a user another password, from a file or stdin
    Password {
        /// The user's login or address
        login: String,
        #[command(flatten)]
        password: PasswordArgs,
        #[command(flatten)]
        writing: Writing,
    },
}

/// `team`.
#[derive(Debug, Subcommand)]
pub(super) enum TeamCommand {
    /// List teams
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Create a team
    Create {
        /// Its name
        name: String,
        #[command(flatten)]
        writing: Writing,
    },
    /// List who is in a team
    Members {
        /// The team's name
        team: String,
        #[command(flatten)]
        common: Common,
    },
    /// Put a user into a team
    Add {
        /// The team's name
        team: String,
        /// The user's login or address
        login: String,
        #[command(flatten)]
        writing: Writing,
    },
}

/// What was written.
#[derive(Debug, Serialize)]
struct Done {
    /// The number that it got; none where nothing gets one, and after a dry run.
    id: Option<u64>,
    what: String,
    dry_run: bool,
}

impl Writing {
    /// Does what is to be done, unless it is only to be told.
    async fn run(
        &self,
        what: String,
        work: impl AsyncFnOnce(&Client) -> Result<Option<u64>, CommandError>,
    ) -> Result<ExitCode, CommandError> {
        let client = self.common.connection.client()?;
        let id = if self.dry_run { None } else { work(&client).await? };
        self.common.output.print(&Done { id, what, dry_run: self.dry_run }, |done| {
            let would = if done.dry_run { "would be done: " } else { "" };
            let id = done.id.map(|id| format!(" (number {id})")).unwrap_or_default();
            format!("{would}{}{id}\n", done.what)
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Common {
    fn list<T: Serialize, const N: usize>(
        &self,
        header: [&str; N],
        all: &[T],
        row: impl Fn(&T) -> [String; N],
    ) -> Result<ExitCode, CommandError> {
        self.output.print(all, |all| table(header, all.iter().map(row)))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl OrgCommand {
    pub(super) async fn run(&self) -> Result<ExitCode, CommandError> {
        match self {
            Self::List { common } => {
                let orgs = common.connection.client()?.orgs().await;
                let orgs = orgs.map_err(CommandError::failed("list the organisations"))?;
                let row = |org: &Org| [org.id.to_string(), org.name.clone()];
                common.list(["id", "organisation"], &orgs, row)
            }
            Self::Create { name, writing } => {
                let what = format!("create the organisation {name}");
                let work = async |client: &Client| {
                    client.create_org(name).await.map(Some).map_err(CommandError::failed(&*what))
                };
                writing.run(what.clone(), work).await
            }
            Self::Add { org, login, role, writing } => {
                let what = format!("put {login} into the organisation {org}");
                let work = async |client: &Client| {
                    let found = client.org_named(org).await;
                    let found = found.map_err(CommandError::failed(&*what))?;
                    let missing = || CommandError::Usage(format!("there is no organisation {org}"));
                    let id = found.ok_or_else(missing)?.id;
                    let added = client.add_org_user(id, login, *role).await;
                    added.map(|()| None).map_err(CommandError::failed(&*what))
                };
                writing.run(what.clone(), work).await
            }
        }
    }
}

impl UserCommand {
    pub(super) async fn run(&self) -> Result<ExitCode, CommandError> {
        match self {
            Self::List { common } => {
                let users = common.connection.client()?.users().await;
                let users = users.map_err(CommandError::failed("list the users"))?;
                common.list(["id", "login", "name", "address"], &users, |user| {
                    let id = user.id.to_string();
                    [id, user.login.clone(), user.name.clone(), user.email.clone()]
                })
            }
            Self::Create { login, email, name, in_org, password, writing } => {
                let what = format!("create the user {login}");
                let work = async |client: &Client| {
                    let user = NewUser {
                        login,
                        email: email.as_deref(),
                        name: name.as_deref(),
                        password: &password.read()?,
                        org_id: *in_org,
                    };
                    client.create_user(&user).await.map(Some).map_err(CommandError::failed(&*what))
                };
                writing.run(what.clone(), work).await
            }
            Self::Password { login, password, writing } => {
                let what = format!("set the password of {login}");
                let work = async |client: &Client| {
                    let user = user(client, login).await?;
                    let set = client.set_password(user.id, &password.read()?).await;
                    set.map(|()| None).map_err(CommandError::failed(&*what))
                };
                writing.run(what.clone(), work).await
            }
        }
    }
}

impl TeamCommand {
    pub(super) async fn run(&self) -> Result<ExitCode, CommandError> {
        match self {
            Self::List { common } => {
                let teams = common.connection.client()?.teams(None).await;
                let teams = teams.map_err(CommandError::failed("list the teams"))?;
                common.list(["id", "team", "members", "address"], &teams, |team| {
                    let members = team.member_count.to_string();
                    [team.id.to_string(), team.name.clone(), members, team.email.clone()]
                })
            }
            Self::Create { name, writing } => {
                let what = format!("create the team {name}");
                let work = async |client: &Client| {
                    client.create_team(name).await.map(Some).map_err(CommandError::failed(&*what))
                };
                writing.run(what.clone(), work).await
            }
            Self::Members { team, common } => {
                let client = common.connection.client()?;
                let members = client.team_members(team_id(&client, team).await?).await;
                let what = format!("list the members of {team}");
                let members = members.map_err(CommandError::failed(what))?;
                common.list(["id", "login", "address"], &members, |member| {
                    [member.user_id.to_string(), member.login.clone(), member.email.clone()]
                })
            }
            Self::Add { team, login, writing } => {
                let what = format!("put {login} into the team {team}");
                let work = async |client: &Client| {
                    let id = team_id(client, team).await?;
                    let user = user(client, login).await?;
                    let added = client.add_team_member(id, user.id).await;
                    added.map(|()| None).map_err(CommandError::failed(&*what))
                };
                writing.run(what.clone(), work).await
            }
        }
    }
}

impl PasswordArgs {
    /// The new password, of the file or of the first line of stdin.
    fn read(&self) -> Result<Secret, CommandError> {
        if let Some(path) = &self.new_password_file {
            return read_secret(path);
        }
        if io::stdin().is_terminal() {
            let text = "a password typed here would be seen: pipe it in, or name a file with \
                        --new-password-file";
            return Err(CommandError::Usage(text.to_owned()));
        }
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        read.map_err(|error| CommandError::Stdin("the password", error))?;
        Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
    }
}

async fn user(client: &Client, login: &str) -> Result<User, CommandError> {
    let found = client.user(login).await;
    let found = found.map_err(CommandError::failed(format!("look up {login}")))?;
    found.ok_or_else(|| CommandError::Usage(format!("there is no user {login}")))
}

async fn team_id(client: &Client, name: &str) -> Result<u64, CommandError> {
    let found = client.teams(Some(name)).await;
    let found = found.map_err(CommandError::failed(format!("look up the team {name}")))?;
    let team = found.into_iter().find(|team| team.name == name);
    Ok(team.ok_or_else(|| CommandError::Usage(format!("there is no team {name}")))?.id)
}

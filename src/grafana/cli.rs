//! The command line `tallyd grafana`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::command;

mod error;
pub mod output;
pub mod connection;
pub mod source;
mod generate;
pub mod keeping;
mod list;
mod push;
mod pull;
mod diff;
mod datasources;
mod folders;
mod annotate;
mod admin;
mod query;
pub mod pick;

pub use connection::ConnectionArgs;
pub use error::CommandError;
pub use output::{Output, OutputArgs};
pub use source::{DashboardArgs, InventoryArgs};

/// What a script sees when something differs, was left alone or was not found.
pub const DIFFERS: u8 = 1;

const EXAMPLES: &str = "\
Examples:
  Write dashboards for what a running tallyd has received:
    tallyd grafana generate --from http://127.0.0.1:9102 --out dashboards
  Keep them in Grafana; edits that people made there are left alone:
    tallyd grafana push --from http://127.0.0.1:9102 --grafana.url http://grafana:3000 \\
        --grafana.token-file token --folder StatsD

Exit codes: 0 done, 1 something differs, was left alone or was not found, 2 it could not be done.";

/// Makes dashboards, keeps them in Grafana, and asks Grafana.
#[derive(Debug, Parser)]
#[command(
    name = "tallyd grafana",
    bin_name = "tallyd grafana",
    after_help = EXAMPLES,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write dashboards to files
    #[command(after_help = generate::EXAMPLES)]
    Generate(Box<generate::GenerateArgs>),
    /// Bring Grafana to what is wanted, and leave people's edits alone
    #[command(after_help = push::EXAMPLES)]
    Push(Box<push::PushArgs>),
    /// Show what a push would change
    #[command(after_help = diff::EXAMPLES)]
    Diff(Box<diff::DiffArgs>),
    /// Write dashboards of Grafana to files
    Pull(Box<pull::PullArgs>),
    /// List dashboards
    List(Box<list::ListArgs>),
    /// Delete dashboards that tallyd wrote
    Delete(Box<list::DeleteArgs>),
    /// List data sources, and ask how they are
    Datasources(Box<datasources::DatasourcesArgs>),
    /// List, make and delete folders
    Folders(Box<folders::FoldersArgs>),
    /// Ask Prometheus, and print or draw what it answers
    #[command(after_help = query::EXAMPLES)]
    Query(Box<query::QueryArgs>),
    /// Write a note on dashboards
    #[command(after_help = annotate::EXAMPLES)]
    Annotate(Box<annotate::AnnotateArgs>),
    /// Organisations; needs a server administrator's password
    #[command(subcommand)]
    Org(Box<admin::OrgCommand>),
    /// Users; needs a server administrator's password
    #[command(subcommand)]
    User(Box<admin::UserCommand>),
    /// Teams
    #[command(subcommand)]
    Team(Box<admin::TeamCommand>),
}

impl Command {
    async fn run(self) -> Result<ExitCode, CommandError> {
        match self {
            Self::Generate(args) => args.run().await,
            Self::Push(args) => args.run().await,
            Self::Diff(args) => args.run().await,
            Self::Pull(args) => args.run().await,
            Self::List(args) => args.run().await,
            Self::Delete(args) => args.run().await,
            Self::Datasources(args) => args.run().await,
            Self::Folders(args) => args.run().await,
            Self::Query(args) => args.run().await,
            Self::Annotate(args) => args.run().await,
            Self::Org(command) => command.run().await,
            Self::User(command) => command.run().await,
            Self::Team(command) => command.run().await,
        }
    }
}

/// Does what a command line says; its first word is whatever follows `grafana`.
///
/// # Errors
/// When it cannot be done. Flags that make no sense are told by clap, with the exit code 2.
pub fn main(args: impl Iterator<Item = OsString>) -> Result<ExitCode, CommandError> {
    match parse::<Cli>("tallyd grafana", args)? {
        Ok(cli) => block_on(cli.command.run()),
        Err(code) => Ok(code),
    }
}

/// Reads the words after a program's name, as `command::parse` does.
///
/// # Errors
/// When help cannot be printed.
pub fn parse<P: Parser>(
    name: &str,
    args: impl Iterator<Item = OsString>,
) -> Result<Result<P, ExitCode>, CommandError> {
    let words = std::iter::once(OsString::from(name)).chain(args);
    command::parse(words).map_err(CommandError::Print)
}

/// The exit code of a command that was done: whether all is as asked for.
#[must_use]
pub fn verdict(is_so: bool) -> ExitCode {
    if is_so { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS) }
}

/// Does on this thread what a client does while it waits.
///
/// # Errors
/// When the runtime cannot be had, and whatever `work` has to say.
pub fn block_on<T, E: From<CommandError>>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(CommandError::Runtime)?.block_on(work)
}

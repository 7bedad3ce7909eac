//! How results are printed: tables for people, JSON for programs.

use std::io::{self, Write as _};

use clap::{Args, ValueEnum};
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use super::CommandError;
use crate::command;

/// How a result is printed.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Result")]
pub struct OutputArgs {
    /// For people or for programs
    #[arg(long, value_enum, default_value = "table")]
    pub output: Output,
}

/// For whom a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table
    Table,
    /// One JSON document
    Json,
}

impl OutputArgs {
    /// Prints a result, as it is or as the text it makes.
    ///
    /// # Errors
    /// When stdout takes no more.
    pub fn print<T: Serialize + ?Sized>(
        self,
        result: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), CommandError> {
        match self.output {
            Output::Table => command::print(&text(result)),
            Output::Json => command::print_json(result),
        }
        .map_err(CommandError::Print)
    }
}

/// Writes text to stdout as it is.
///
/// # Errors
/// When stdout takes no more.
pub fn print(text: &str) -> Result<(), CommandError> {
    command::print(text).map_err(CommandError::Print)
}

/// Tells people something beside the result.
pub fn note(text: &str) {
    // Where stderr is closed nobody reads it, and the result is not worse for it.
    writeln!(io::stderr(), "tallyd: {text}").unwrap_or_default();
}

/// A table of text, with a newline at its end; without rows it says so in a line.
#[must_use]
pub fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    table.add_rows(rows);
    if table.is_empty() {
        return "nothing found\n".to_owned();
    }
    table.trim_fmt() + "\n"
}

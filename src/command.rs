//! What all commands have in common: how their words are read, and how results are printed.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;

/// The exit code of a command that could not be done; 1 is an answer, such as that something differs.
pub const FAILED: u8 = 2;

/// Reads a command's words, of which the first is its name. Help, and what is wrong with the words,
/// is printed here and leaves an exit code.
///
/// # Errors
/// When stdout or stderr takes no more.
pub fn parse<P: Parser>(
    words: impl IntoIterator<Item = OsString>,
) -> io::Result<Result<P, ExitCode>> {
    match P::try_parse_from(words) {
        Ok(parsed) => Ok(Ok(parsed)),
        Err(error) => {
            unless_gone(error.print())?;
            Ok(Err(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(FAILED))))
        }
    }
}

/// Writes text to stdout as it is.
///
/// # Errors
/// When stdout takes no more, unless its reader has gone.
pub fn print(text: &str) -> io::Result<()> {
    unless_gone(io::stdout().lock().write_all(text.as_bytes()))
}

/// Writes a value to stdout as one JSON document.
///
/// # Errors
/// As `print`, and when the value cannot be JSON.
pub fn print_json(value: &(impl Serialize + ?Sized)) -> io::Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// Takes it for a success that nobody wants more: `head` has had enough.
fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

//! Who asks, put on each request; a token file is followed when its token is changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parking_lot::Mutex;
use reqwest::RequestBuilder;

use super::config::{Credentials, Secret};
use super::error::Error;

/// Checked credentials.
#[derive(Debug)]
pub(super) enum Authorizer {
    None,
    Token(Secret),
    TokenFile(TokenFile),
    Basic { user: String, password: Secret },
}

impl Authorizer {
    /// Checks what can be checked without a server; a token file is read for the first time.
    pub(super) fn new(credentials: Credentials) -> Result<Self, Error> {
        Ok(match credentials {
            Credentials::None => Self::None,
            Credentials::Token(token) => Self::Token(checked("the token", token.expose())?),
            Credentials::TokenFile(path) => {
                let file = TokenFile { path, read: Mutex::new(None) };
                file.token()?;
                Self::TokenFile(file)
            }
            Credentials::Basic { user, .. } if user.contains(':') || user.is_empty() => {
                let why = "it is empty or has a colon in it".to_owned();
                return Err(Error::Unusable { what: format!("the user `{user}`"), why });
            }
            Credentials::Basic { user, password } => Self::Basic { user, password },
        })
    }

    /// The token to show now, if it is a token.
    pub(super) fn token(&self) -> Result<Option<Secret>, Error> {
        match self {
            Self::None | Self::Basic { .. } => Ok(None),
            Self::Token(token) => Ok(Some(token.clone())),
            Self::TokenFile(file) => file.token().map(Some),
        }
    }

    /// The token that there is by now, unless it is the refused one.
    pub(super) fn token_unlike(&self, refused: Option<&Secret>) -> Option<Secret> {
        let Self::TokenFile(file) = self else { return None };
        file.forget();
        file.token().ok().filter(|token| Some(token) != refused)
    }

    /// Puts the credentials on a request.
    pub(super) fn sign(&self, request: RequestBuilder, token: Option<&Secret>) -> RequestBuilder {
        match (self, token) {
            (Self::Basic { user, password }, _) => {
                request.basic_auth(user, Some(password.expose()))
            }
            (_, Some(token)) => request.bearer_auth(token.expose()),
            (_, None) => request,
        }
    }
}

/// A file with a token; read again when its time of change is another.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    read: Mutex<Option<(SystemTime, Secret)>>,
}

impl TokenFile {
    fn token(&self) -> Result<Secret, Error> {
        let changed = fs::metadata(&self.path).and_then(|meta| meta.modified());
        let changed = changed.map_err(|source| read_error(&self.path, source))?;
        let mut read = self.read.lock();
        if let Some((_, token)) = read.as_ref().filter(|(when, _)| *when == changed) {
            return Ok(token.clone());
        }
        let text = fs::read_to_string(&self.path);
        let text = text.map_err(|source| read_error(&self.path, source))?;
        let token = checked(&format!("the token in {}", self.path.display()), &text)?;
        *read = Some((changed, token.clone()));
        Ok(token)
    }

    /// Two changes within one tick of the file system's clock have the same time.
    fn forget(&self) {
        *self.read.lock() = None;
    }
}

fn read_error(path: &Path, source: std::io::Error) -> Error {
    Error::ReadFile { what: "the token file", path: path.to_owned(), source }
}

/// The token without the white space around it, which editors and `echo` leave.
fn checked(what: &str, text: &str) -> Result<Secret, Error> {
    let token = text.trim();
    let why = match token {
        "" => "it is empty",
        _ if !token.chars().all(|c| c.is_ascii_graphic()) => {
            "it has characters in it that no token has"
        }
        _ => return Ok(Secret::new(token)),
    };
    Err(Error::Unusable { what: what.to_owned(), why: why.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_no_white_space_around_it_and_no_foreign_characters_in_it() {
        check(" glsa_a\n", Some("glsa_a"));
        check("", None);
        check(" \n", None);
        check("glsa a", None);
        check("glsa\u{e4}", None);
    }

    #[test]
    fn no_secret_is_shown() {
        let credentials = Credentials::Token(Secret::new("glsa_a"));
        assert_eq!(format!("{credentials:?}"), "Token(***)");
    }

    #[track_caller]
    fn check(text: &str, token: Option<&str>) {
        let found = checked("the token", text).ok();
        assert_eq!(found.as_ref().map(Secret::expose), token);
    }
}

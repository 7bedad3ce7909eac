//! The file as written: YAML, its keys and the kinds of its values.
//!
//! What an error says never quotes the file: a hash or a key may stand where it does not belong.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_saphyr::{Error, Spanned};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    pub(super) tls_server_config: Option<RawTls>,
    pub(super) http_server_config: Option<RawHttp>,
    pub(super) basic_auth_users: Option<BTreeMap<String, Spanned<Secret>>>,
    pub(super) rate_limit: Option<RawRate>,
}

/// `tls_server_config:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    pub(super) cert: Option<Spanned<Secret>>,
    pub(super) key: Option<Spanned<Secret>>,
    pub(super) client_ca: Option<Spanned<Secret>>,
    pub(super) cert_file: Option<Spanned<String>>,
    pub(super) key_file: Option<Spanned<String>>,
    pub(super) client_ca_file: Option<Spanned<String>>,
    pub(super) client_auth_type: Option<Spanned<String>>,
    pub(super) client_allowed_sans: Option<Spanned<Vec<String>>>,
    pub(super) min_version: Option<Spanned<String>>,
    pub(super) max_version: Option<Spanned<String>>,
    pub(super) cipher_suites: Option<Vec<Spanned<String>>>,
    pub(super) prefer_server_cipher_suites: Option<bool>,
    pub(super) curve_preferences: Option<Vec<Spanned<String>>>,
}

/// `http_server_config:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHttp {
    pub(super) http2: Option<bool>,
    pub(super) headers: Option<RawHeaders>,
}

/// `headers:`, the only ones that can be set.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHeaders {
    #[serde(rename = "Content-Security-Policy")]
    pub(super) content_security_policy: Option<Spanned<String>>,
    #[serde(rename = "Strict-Transport-Security")]
    pub(super) strict_transport_security: Option<Spanned<String>>,
    #[serde(rename = "X-Content-Type-Options")]
    pub(super) content_type_options: Option<Spanned<String>>,
    #[serde(rename = "X-Frame-Options")]
    pub(super) frame_options: Option<Spanned<String>>,
    #[serde(rename = "X-XSS-Protection")]
    pub(super) xss_protection: Option<Spanned<String>>,
}

/// `rate_limit:`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRate {
    pub(super) interval: Option<Spanned<String>>,
    pub(super) burst: Option<Spanned<String>>,
}

/// A text that is shown nowhere.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// What is wrong with the file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) problem: String,
}

impl Fault {
    /// Something wrong with a value.
    pub(super) fn at<T>(value: &Spanned<T>, problem: impl Into<String>) -> Self {
        let place = &value.referenced;
        Self { line: place.line(), column: place.column(), problem: problem.into() }
    }

    /// Something that is not there, and so has no place.
    pub(super) fn of_all(problem: impl Into<String>) -> Self {
        Self { line: 1, column: 1, problem: problem.into() }
    }
}

/// Reads the text of a file; an empty one is as good as one without keys.
pub(super) fn parse(text: &str) -> Result<RawFile, Fault> {
    let options = serde_saphyr::options! { with_snippet: false };
    let file: Option<RawFile> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| fault(&error))?;
    Ok(file.unwrap_or_default())
}

fn fault(error: &Error) -> Fault {
    let (line, column) = error.location().map_or((0, 0), |place| (place.line(), place.column()));
    let problem = match error.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => unknown("key", field, expected),
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            format!("expected {expected}")
        }
        Error::InvalidScalar { ty, .. } => format!("expected {ty}"),
        Error::InvalidBooleanStrict { .. } => "expected true or false".to_owned(),
        Error::Unexpected { expected, .. } => format!("expected {expected}"),
        Error::DuplicateMappingKey { .. } => "a key stands here for the second time".to_owned(),
        Error::MultipleDocuments { .. } => "a second document begins here".to_owned(),
        Error::NullIntoString { .. } => "expected a text, found nothing".to_owned(),
        _ => "this is not YAML; look at indentation, colons and quotes".to_owned(),
    };
    Fault { line, column, problem }
}

/// What to say of a word that is not known. It is shown only where it is much like a known one.
pub(super) fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    let distance = |known: &&&str| strsim::damerau_levenshtein(word, known);
    match known.iter().min_by_key(distance).filter(|best| distance(best) <= 1 + best.len() / 4) {
        Some(nearest) => format!("unknown {what} `{word}`; did you mean `{nearest}`?"),
        None => format!("unknown {what}; known are {}", known.join(", ")),
    }
}

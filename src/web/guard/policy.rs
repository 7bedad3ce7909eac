//! The file as understood: what is in force until it changes.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use axum::http::header::{
    CONTENT_SECURITY_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    X_XSS_PROTECTION,
};
use axum::http::{HeaderName, HeaderValue};
use serde_saphyr::Spanned;
use tokio_rustls::TlsAcceptor;

use super::GuardError;
use super::file::{Fault, RawFile, RawHeaders, RawRate};
use super::rate::Rate;
use super::users::{Hash, Users};
use super::{file, tls};
use crate::units::parse_go_duration;

/// What a file says.
pub(in crate::web) struct Policy {
    /// How to encrypt; none for plain HTTP.
    pub(in crate::web) tls: Option<TlsAcceptor>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Who is let in; none for everybody.
    pub(super) users: Option<Users>,
    pub(super) rate: Option<Rate>,
    /// What is allowed, but not likely to be meant.
    pub(super) warnings: Vec<String>,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").field("tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}

impl Policy {
    /// Follows another one while clients are there.
    ///
    /// # Errors
    /// When one of the two has TLS and the other has not, or users who were needed no longer are.
    pub(super) fn in_place_of(self, old: &Self) -> Result<Self, GuardError> {
        if self.tls.is_some() != old.tls.is_some() {
            return Err(GuardError::NeedsRestart("TLS"));
        }
        if self.users.is_none() && old.users.is_some() {
            return Err(GuardError::NeedsRestart("basic_auth_users"));
        }
        if let (Some(new), Some(old)) = (&self.rate, &old.rate) {
            new.continue_from(old);
        }
        Ok(self)
    }
}

/// Understands a file; `read` reads another one that it names.
pub(super) fn check(
    raw: &RawFile,
    read: impl FnMut(&str) -> io::Result<Vec<u8>>,
) -> Result<Policy, Fault> {
    let mut warnings = Vec::new();
    let http = raw.http_server_config.as_ref();
    let is_http2 = http.and_then(|http| http.http2).unwrap_or(true);
    let users = raw.basic_auth_users.as_ref().filter(|users| !users.is_empty());
    let tls = match &raw.tls_server_config {
        Some(tls) => tls::acceptor(tls, is_http2, read, &mut warnings)?,
        None => None,
    };
    if tls.is_none() && users.is_some() {
        let warning = "basic_auth_users: without TLS passwords can be read on their way";
        warnings.push(warning.to_owned());
    }
    Ok(Policy {
        tls,
        headers: http.and_then(|http| http.headers.as_ref()).map_or(Ok(Vec::new()), headers)?,
        users: users.map(hashes).transpose()?.map(Users::new),
        rate: raw.rate_limit.as_ref().map_or(Ok(None), |raw| rate(raw, &mut warnings))?,
        warnings,
    })
}

fn headers(raw: &RawHeaders) -> Result<Vec<(HeaderName, HeaderValue)>, Fault> {
    // Each with the values that may be; none for any.
    let known: [(_, _, &[&str]); 5] = [
        (CONTENT_SECURITY_POLICY, &raw.content_security_policy, &[]),
        (STRICT_TRANSPORT_SECURITY, &raw.strict_transport_security, &[]),
        (X_CONTENT_TYPE_OPTIONS, &raw.content_type_options, &["nosniff"]),
        (X_FRAME_OPTIONS, &raw.frame_options, &["deny", "sameorigin"]),
        (X_XSS_PROTECTION, &raw.xss_protection, &[]),
    ];
    let mut headers = Vec::new();
    for (name, value, allowed) in known {
        let Some(value) = value else { continue };
        if !allowed.is_empty() && !allowed.contains(&value.value.as_str()) {
            return Err(Fault::at(value, format!("{name} can be {}", allowed.join(" or "))));
        }
        let text = HeaderValue::from_str(&value.value);
        headers.push((name, text.map_err(|_| Fault::at(value, "no header has such a value"))?));
    }
    headers.retain(|(_, value)| !value.is_empty());
    Ok(headers)
}

fn hashes(
    users: &BTreeMap<String, Spanned<file::Secret>>,
) -> Result<BTreeMap<String, Hash>, Fault> {
    let hash = |(name, hash): (&String, &Spanned<file::Secret>)| {
        let parsed = Hash::parse(&hash.value.0);
        let parsed = parsed.ok_or_else(|| Fault::at(hash, "this is not a bcrypt hash"))?;
        Ok((name.clone(), parsed))
    };
    users.iter().map(hash).collect()
}

fn rate(raw: &RawRate, warnings: &mut Vec<String>) -> Result<Option<Rate>, Fault> {
    let interval = raw.interval.as_ref().map(interval).transpose()?.unwrap_or_default();
    let burst = match &raw.burst {
        None => 0,
        Some(text) => {
            let burst = text.value.parse();
            burst.map_err(|_| Fault::at(text, "`burst` is a number of requests"))?
        }
    };
    if interval.is_zero() {
        return Ok(None);
    }
    if burst == 0 {
        warnings.push("rate_limit: with a burst of 0 every request is refused".to_owned());
    }
    Ok(Some(Rate::new(interval, burst)))
}

/// As in the toolkit, a bare number is one of nanoseconds.
fn interval(text: &Spanned<String>) -> Result<Duration, Fault> {
    let nanos = match text.value.parse() {
        Ok(nanos) => Some(nanos),
        Err(_) => parse_go_duration(&text.value).ok().and_then(|nanos| u64::try_from(nanos).ok()),
    };
    nanos
        .map(Duration::from_nanos)
        .ok_or_else(|| Fault::at(text, "`interval` is a duration such as 1s or 200ms"))
}

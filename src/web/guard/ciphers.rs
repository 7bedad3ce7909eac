//! Go's names of versions, cipher suites and curves, as the file has them, and what rustls has.
//!
//! rustls leaves out what is weak. Of a list, what it lacks is left out with a warning, because the
//! rest is still no more than was allowed; a list of nothing else is an error.

use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, NamedGroup, SupportedCipherSuite, SupportedProtocolVersion};
use serde_saphyr::Spanned;

use super::file::{Fault, RawTls, unknown};

/// What Go has and rustls lacks, for good reason: CBC.
const SUITES_OF_GO_ALONE: [&str; 4] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];

/// Go's names of suites.
const SUITES: [(&str, CipherSuite); 9] = [
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Go's names of curves.
const CURVES: [(&str, NamedGroup); 4] = [
    ("CurveP256", NamedGroup::secp256r1),
    ("CurveP384", NamedGroup::secp384r1),
    ("CurveP521", NamedGroup::secp521r1),
    ("X25519", NamedGroup::X25519),
];

const VERSIONS: [&str; 4] = ["TLS10", "TLS11", "TLS12", "TLS13"];

/// The versions between the two that are given.
pub(super) fn versions(
    raw: &RawTls,
    warnings: &mut Vec<String>,
) -> Result<Vec<&'static SupportedProtocolVersion>, Fault> {
    let least = version(raw.min_version.as_ref(), "min_version")?.unwrap_or(2);
    let most = version(raw.max_version.as_ref(), "max_version")?.unwrap_or(3);
    if let (Some(value), true) = (&raw.max_version, most < 2) {
        let problem = "TLS 1.0 and 1.1 are broken and not offered; `max_version` is TLS12 or TLS13";
        return Err(Fault::at(value, problem));
    }
    if let (Some(value), true) =
        (raw.max_version.as_ref().or(raw.min_version.as_ref()), most < least)
    {
        return Err(Fault::at(value, "`max_version` is lower than `min_version`"));
    }
    if least < 2 {
        warnings.push("min_version: TLS 1.0 and 1.1 are not offered; TLS 1.2 is the least".into());
    }
    let offered = [(2, &TLS12), (3, &TLS13)].into_iter();
    Ok(offered.filter(|(rank, _)| (least..=most).contains(rank)).map(|(_, v)| v).collect())
}

fn version(value: Option<&Spanned<String>>, key: &str) -> Result<Option<usize>, Fault> {
    let Some(value) = value.filter(|value| !value.value.is_empty()) else { return Ok(None) };
    let rank = VERSIONS.iter().position(|name| *name == value.value);
    rank.map(Some).ok_or_else(|| Fault::at(value, unknown(key, &value.value, &VERSIONS)))
}

/// ring, with the suites and curves that are allowed, in their order.
pub(super) fn provider(raw: &RawTls, warnings: &mut Vec<String>) -> Result<CryptoProvider, Fault> {
    let mut provider = ring::default_provider();
    if let Some(names) = raw.cipher_suites.as_deref().filter(|names| !names.is_empty()) {
        let chosen = suites(names, &provider.cipher_suites, warnings)?;
        provider.cipher_suites = chosen;
    }
    if let Some(names) = raw.curve_preferences.as_deref().filter(|names| !names.is_empty()) {
        let chosen = curves(names, &provider.kx_groups, warnings)?;
        provider.kx_groups = chosen;
    }
    Ok(provider)
}

/// As in Go, the list is about TLS 1.2; what TLS 1.3 has is always there.
fn suites(
    names: &[Spanned<String>],
    offered: &[SupportedCipherSuite],
    warnings: &mut Vec<String>,
) -> Result<Vec<SupportedCipherSuite>, Fault> {
    let is_tls13 = |suite: &&SupportedCipherSuite| suite.tls13().is_some();
    let mut chosen: Vec<_> = offered.iter().filter(is_tls13).copied().collect();
    let mut is_any = false;
    for name in names {
        if SUITES_OF_GO_ALONE.contains(&name.value.as_str()) {
            warnings.push(format!("cipher_suites: {} is not offered and left out", name.value));
            continue;
        }
        let Some((_, id)) = SUITES.iter().find(|(known, _)| *known == name.value) else {
            let known = SUITES.map(|(known, _)| known);
            return Err(Fault::at(name, unknown("cipher suite", &name.value, &known)));
        };
        is_any = true;
        let suite = offered.iter().find(|suite| suite.suite() == *id);
        chosen.extend(suite.filter(|suite| !is_tls13(suite)));
    }
    match names.first() {
        Some(first) if !is_any => {
            let known = SUITES.map(|(known, _)| known).join(", ");
            Err(Fault::at(first, format!("none of these is offered; there are {known}")))
        }
        _ => Ok(chosen),
    }
}

fn curves(
    names: &[Spanned<String>],
    offered: &[&'static dyn SupportedKxGroup],
    warnings: &mut Vec<String>,
) -> Result<Vec<&'static dyn SupportedKxGroup>, Fault> {
    let mut chosen = Vec::new();
    for name in names {
        let Some((_, id)) = CURVES.iter().find(|(known, _)| *known == name.value) else {
            let known = CURVES.map(|(known, _)| known);
            return Err(Fault::at(name, unknown("curve", &name.value, &known)));
        };
        match offered.iter().find(|group| group.name() == *id) {
            Some(group) => chosen.push(*group),
            None => warnings
                .push(format!("curve_preferences: {} is not offered and left out", name.value)),
        }
    }
    match names.first() {
        Some(first) if chosen.is_empty() => {
            let problem = "none of these is offered; there are X25519, CurveP256 and CurveP384";
            Err(Fault::at(first, problem))
        }
        _ => Ok(chosen),
    }
}

//! Which format, which name escaping and which compression a client gets.
//!
//! The rules are those of `promhttp` and of the two parsers it calls, peculiarities included: a
//! `q=0` is only the last choice, and a header with nothing usable in it gets the text format.

use std::fmt;

/// Clauses of an `Accept` header beyond these are not looked at; Prometheus sends six at most.
const MAX_CLAUSES: usize = 32;

/// The exposition formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
    /// The same page under the number of the draft, for clients that ask for no other.
    OpenMetricsDraft,
    /// Length-delimited protobuf.
    Protobuf,
}

/// How names that are illegal in the old character set would be written.
///
/// Every name of a page is legal there, and legal names are left alone by all four schemes, so the
/// scheme is only stated in the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escaping {
    /// `allow-utf-8`
    AllowUtf8,
    /// `underscores`
    #[default]
    Underscores,
    /// `dots`
    Dots,
    /// `values`
    Values,
}

/// What `Content-Type` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentType {
    /// The format of the page.
    pub format: Format,
    /// The escaping of its names.
    pub escaping: Escaping,
}

/// What `Content-Encoding` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// None.
    Identity,
    /// `gzip`
    Gzip,
    /// `zstd`
    Zstd,
}

impl Escaping {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "allow-utf-8" => Some(Self::AllowUtf8),
            "underscores" => Some(Self::Underscores),
            "dots" => Some(Self::Dots),
            "values" => Some(Self::Values),
            _ => None,
        }
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.format {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::OpenMetricsDraft => {
                "application/openmetrics-text; version=0.0.1; charset=utf-8"
            }
            Format::Protobuf => {
                "application/vnd.google.protobuf; \
                 proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        })?;
        f.write_str(match self.escaping {
            Escaping::AllowUtf8 => "; escaping=allow-utf-8",
            Escaping::Underscores => "; escaping=underscores",
            Escaping::Dots => "; escaping=dots",
            Escaping::Values => "; escaping=values",
        })
    }
}

/// Chooses the format by the `Accept` header, empty when there is none.
///
/// An escaping named in a clause that is passed over stays in force for the clauses after it.
#[must_use]
pub fn content_type(accept: &str, openmetrics: bool) -> ContentType {
    let mut escaping = Escaping::default();
    for clause in clauses(accept) {
        escaping = clause.param("escaping").and_then(Escaping::parse).unwrap_or(escaping);
        if let Some(format) = clause.format(openmetrics) {
            return ContentType { format, escaping };
        }
    }
    ContentType { format: Format::Text, escaping }
}

/// One clause of an `Accept` header.
#[derive(Debug)]
struct Clause<'a> {
    main: &'a str,
    sub: &'a str,
    params: &'a str,
    quality: f32,
}

impl<'a> Clause<'a> {
    /// Returns `None` for a clause that names no type.
    fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim_matches(' ');
        let (range, params) = text.split_once(';').unwrap_or((text, ""));
        let (main, sub) = match range.split_once('/') {
            Some((main, sub)) => (main.trim_matches(' '), sub),
            None => (range.trim_matches(' '), ""),
        };
        let sub = match sub {
            "" if main == "*" => "*",
            "" => return None,
            // One slash at the end is forgiven, a third part is not.
            _ => sub.strip_suffix('/').unwrap_or(sub),
        };
        if sub.contains('/') {
            return None;
        }
        let mut clause = Self { main, sub: sub.trim_matches(' '), params, quality: 1.0 };
        // An unreadable quality is zero; blanks after the equals sign make it one.
        if let Some(quality) = clause.raw_param("q") {
            clause.quality = quality.parse().unwrap_or(0.0);
        }
        Some(clause)
    }

    /// The last parameter of that name.
    fn raw_param(&self, name: &str) -> Option<&'a str> {
        self.params.rsplit(';').find_map(|param| {
            let (key, value) = param.split_once('=')?;
            let value = value.strip_suffix('=').unwrap_or(value);
            let is_pair = !value.is_empty() && !value.contains('=');
            (is_pair && key.trim_matches(' ') == name).then_some(value)
        })
    }

    fn param(&self, name: &str) -> Option<&'a str> {
        self.raw_param(name).map(|value| value.trim_matches(' '))
    }

    fn format(&self, openmetrics: bool) -> Option<Format> {
        let version = self.param("version").unwrap_or_default();
        match (self.main, self.sub) {
            ("application", "vnd.google.protobuf") => {
                let is_family = self.param("proto") == Some("io.prometheus.client.MetricFamily");
                let is_delimited = self.param("encoding") == Some("delimited");
                (is_family && is_delimited).then_some(Format::Protobuf)
            }
            ("text", "plain") => matches!(version, "" | "0.0.4").then_some(Format::Text),
            ("application", "openmetrics-text") if openmetrics => match version {
                "" | "1.0.0" => Some(Format::OpenMetrics),
                "0.0.1" => Some(Format::OpenMetricsDraft),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether this clause is to be looked at before `other`.
    ///
    /// No order in the mathematical sense: a type without a star comes first even when its quality
    /// is lower, and each of two clauses may precede the other.
    fn precedes(&self, other: &Self) -> bool {
        self.quality > other.quality
            || (self.main != "*" && other.main == "*")
            || (self.sub != "*" && other.sub == "*")
    }
}

/// The clauses in the order in which they are looked at.
///
/// Sorted by insertion, for that is what Go does with up to twelve elements, and with a relation
/// like this one the way of sorting decides the outcome.
fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut sorted: Vec<Clause<'_>> = Vec::new();
    for clause in accept.split(',').take(MAX_CLAUSES).filter_map(Clause::parse) {
        let passed = sorted.iter().rev().take_while(|earlier| clause.precedes(earlier)).count();
        sorted.insert(sorted.len() - passed, clause);
    }
    sorted
}

/// Chooses the compression by the `Accept-Encoding` headers: the highest quality, at a tie the
/// first of identity, gzip, zstd.
#[must_use]
pub fn compression<'a>(accept: impl Iterator<Item = &'a str>) -> Compression {
    let accepted: Vec<(&str, f64)> = accept.flat_map(encodings).collect();
    let mut best = (Compression::Identity, -1.0);
    let offers = [Compression::Identity, Compression::Gzip, Compression::Zstd];
    for (offer, name) in offers.into_iter().zip(["identity", "gzip", "zstd"]) {
        for &(token, quality) in &accepted {
            if quality > best.1 && (token == "*" || token == name) {
                best = (offer, quality);
            }
        }
    }
    if best.1 == 0.0 { Compression::Identity } else { best.0 }
}

/// Splits one header into tokens with their quality, up to the first thing that is malformed.
fn encodings(header: &str) -> impl Iterator<Item = (&str, f64)> {
    header.split(',').map_while(|clause| {
        let clause = clause.trim_ascii();
        let (token, quality) = match clause.split_once(';') {
            Some((token, param)) => (token.trim_ascii_end(), quality(param.trim_ascii_start())?),
            None => (clause, 1.0),
        };
        let is_token = !token.is_empty() && !token.contains([' ', '\t']);
        is_token.then_some((token, quality))
    })
}

/// Reads `q=0.5`; `None` when it is something else.
fn quality(param: &str) -> Option<f64> {
    let value = param.strip_prefix("q=")?;
    let is_quality = value.starts_with(['0', '1'])
        && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_quality { value.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Accept` headers and what `statsd_exporter` 0.31 answered; `PROTO` stands for the whole type.
    const REFERENCE: &[(&str, &str)] = &[
        ("", "text underscores"),
        ("*/*", "text underscores"),
        ("text/plain", "text underscores"),
        ("text/plain;version=0.0.4", "text underscores"),
        ("text/plain;version=1.0.0", "text underscores"),
        ("text/plain; version=0.0.4; escaping=dots", "text dots"),
        ("text/plain;escaping=values", "text values"),
        ("text/plain;escaping=underscores", "text underscores"),
        ("text/plain;escaping=allow-utf-8", "text allow-utf-8"),
        ("text/plain;escaping=nonsense", "text underscores"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text underscores"),
        ("PROTO", "proto underscores"),
        ("PROTO;q=0.5,text/plain", "text underscores"),
        ("PROTO, text/plain;q=0.9", "proto underscores"),
        ("text/plain;q=0.9,PROTO;q=0.4", "text underscores"),
        (
            "PROTO;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            "proto underscores",
        ),
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "text underscores",
        ),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;escaping=allow-utf-8;q=0.3,*/*;q=0.2",
            "text allow-utf-8",
        ),
        ("application/openmetrics-text", "text underscores"),
        ("application/openmetrics-text;version=1.0.0", "text underscores"),
        ("application/openmetrics-text;version=0.0.1;escaping=values", "text values"),
        ("application/vnd.google.protobuf", "text underscores"),
        (
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=what,text/plain;escaping=dots",
            "text dots",
        ),
        (
            "application/vnd.google.protobuf;proto=io.prometheus.client.Other;encoding=delimited",
            "text underscores",
        ),
        ("text/plain;q=0,PROTO;q=0", "text underscores"),
        ("PROTO;q=0", "proto underscores"),
        ("text/*;q=0.1,PROTO;q=0.05", "proto underscores"),
        ("*/*,PROTO", "proto underscores"),
        ("*/*;escaping=dots,PROTO", "proto underscores"),
        ("*,PROTO;escaping=values", "proto values"),
        ("text,PROTO", "proto underscores"),
        ("a/b/c,PROTO", "proto underscores"),
        ("text/plain;q=abc,PROTO;q=0.1", "proto underscores"),
        ("text/plain;q= 0.9,PROTO;q=0.1", "proto underscores"),
        (
            "text/plain ; version = 0.0.4 ; q=0.3 , application/vnd.google.protobuf ; proto=io.prometheus.client.MetricFamily ; encoding=delimited ; q=0.2",
            "text underscores",
        ),
        ("TEXT/PLAIN;escaping=dots,PROTO", "proto dots"),
        ("text/plain;escaping=dots;escaping=values", "text values"),
        ("text/plain;q=2,PROTO;q=3", "proto underscores"),
        ("text/plain;version=0.0.4;version=1.0.0,PROTO;q=0.1", "proto underscores"),
        ("text/plain;q=0.5,PROTO;q=0.5", "text underscores"),
        ("PROTO;q=0.5,text/plain;q=0.5", "proto underscores"),
        ("text/plain;a=b=c;escaping=dots", "text dots"),
        (",,PROTO", "proto underscores"),
        ("*/*;q=0.9,text/plain;escaping=dots;q=0.5,PROTO;q=0.7", "proto underscores"),
        ("text/plain;escaping=dots;q=0.2,text/plain;version=9;escaping=values;q=0.4", "text dots"),
        (";q=1,PROTO", "proto underscores"),
        ("text/plain;q=NaN,PROTO;q=0.9", "text underscores"),
    ];

    #[test]
    fn the_format_is_chosen_as_the_reference_chooses() {
        for (accept, expected) in REFERENCE {
            check(accept, false, expected);
        }
    }

    #[test]
    fn openmetrics_is_offered_only_when_allowed() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        check(prometheus, true, "openmetrics allow-utf-8");
        check(prometheus, false, "text allow-utf-8");
        check("application/openmetrics-text", true, "openmetrics underscores");
        check("application/openmetrics-text;version=0.0.1", true, "draft underscores");
        check("application/openmetrics-text;version=2.0.0", true, "text underscores");
        check("text/plain,application/openmetrics-text;q=0.9", true, "text underscores");
        check("", true, "text underscores");
    }

    #[test]
    fn the_content_type_is_written_out() {
        let shown = |accept: &str| content_type(accept, true).to_string();
        assert_eq!(shown(""), "text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
        assert_eq!(
            shown("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8"),
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
        );
        assert_eq!(
            shown(PROTO),
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
             encoding=delimited; escaping=underscores"
        );
    }

    #[test]
    fn a_long_header_costs_no_more_than_a_usual_one() {
        let header = "text/plain;version=9;q=0.5,".repeat(100_000);
        assert_eq!(clauses(&header).len(), MAX_CLAUSES);
    }

    #[test]
    fn compression_goes_by_quality_then_by_our_order() {
        check_compression(&[], Compression::Identity);
        check_compression(&["gzip"], Compression::Gzip);
        check_compression(&["zstd"], Compression::Zstd);
        check_compression(&["gzip, zstd"], Compression::Gzip);
        check_compression(&["gzip;q=0.5, zstd"], Compression::Zstd);
        check_compression(&["deflate", "gzip"], Compression::Gzip);
        check_compression(&["identity"], Compression::Identity);
        check_compression(&["gzip;q=0.5,identity;q=0.5"], Compression::Identity);
        check_compression(&["gzip;q=0.5, identity;q=0.2"], Compression::Gzip);
        check_compression(&["br, gzip"], Compression::Gzip);
        check_compression(&["deflate, gzip;q=1.0, *;q=0.5"], Compression::Gzip);
    }

    #[test]
    fn what_is_not_wanted_or_not_understood_is_left_plain() {
        check_compression(&["*"], Compression::Identity);
        check_compression(&["gzip;q=0"], Compression::Identity);
        check_compression(&["identity;q=0"], Compression::Identity);
        check_compression(&["*;q=0"], Compression::Identity);
        check_compression(&["GZIP"], Compression::Identity);
        check_compression(&["br"], Compression::Identity);
        check_compression(&["gzip;level=3"], Compression::Identity);
        check_compression(&["gzip;q=0.1,*;q=0.9"], Compression::Identity);
        check_compression(&["gzip;q=1.2.3"], Compression::Identity);
        check_compression(&[", gzip"], Compression::Identity);
    }

    const PROTO: &str = "application/vnd.google.protobuf;\
        proto=io.prometheus.client.MetricFamily;encoding=delimited";

    #[track_caller]
    fn check(accept: &str, openmetrics: bool, expected: &str) {
        let chosen = content_type(&accept.replace("PROTO", PROTO), openmetrics);
        let format = match chosen.format {
            Format::Text => "text",
            Format::OpenMetrics => "openmetrics",
            Format::OpenMetricsDraft => "draft",
            Format::Protobuf => "proto",
        };
        let escaping = match chosen.escaping {
            Escaping::AllowUtf8 => "allow-utf-8",
            Escaping::Underscores => "underscores",
            Escaping::Dots => "dots",
            Escaping::Values => "values",
        };
        assert_eq!(format!("{format} {escaping}"), expected, "{accept}");
    }

    #[track_caller]
    fn check_compression(headers: &[&str], expected: Compression) {
        assert_eq!(compression(headers.iter().copied()), expected, "{headers:?}");
    }
}

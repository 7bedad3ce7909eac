//! The log's two formats: those of Prometheus' own programs, so that what reads their logs reads
//! ours.
//!
//! ```text
//! time=2026-11-21T10:00:00.000Z level=INFO source=net.rs:12 msg="Accepting" udp=:9125
//! {"time":"2026-11-21T10:00:00.000000000Z","level":"INFO","source":"net.rs:12","msg":"Accepting","udp":":9125"}
//! ```
//!
//! The rules for quoting are those of Go's `log/slog`, which writes the reference's log. An error
//! recorded as `error = &error as &dyn Error` is written with its causes, one recorded as
//! `error = %error` without.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::SystemTime;

use clap::ValueEnum;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// From which severity on something is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Everything, also what happens per line.
    Debug,
    /// Start, reload and stop.
    #[default]
    Info,
    /// What was recovered from.
    Warn,
    /// What was lost, or needs somebody to act.
    Error,
}

/// How a record is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// `key=value` pairs.
    #[default]
    Logfmt,
    /// One object per line.
    Json,
}

/// Starts to log to stderr, for the whole process and until its end.
///
/// A second call changes nothing: a program that starts several servers has one log.
pub fn init(level: Level, format: Format) {
    let log = tracing_subscriber::fmt()
        // It would report a failed write by `eprintln!`, which panics when stderr is gone.
        .log_internal_errors(false)
        .event_format(format)
        .with_max_level(LevelFilter::from(level))
        .with_writer(io::stderr)
        .finish();
    if tracing::subscriber::set_global_default(log).is_err() {
        tracing::debug!("The log was already up and keeps its level and format.");
    }
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Debug => Self::DEBUG,
            Level::Info => Self::INFO,
            Level::Warn => Self::WARN,
            Level::Error => Self::ERROR,
        }
    }
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let fields = Fields::of(event, *self);
        let level = event.metadata().level();
        let source = source_of(event);
        let now = SystemTime::now();
        match self {
            Self::Logfmt => {
                let time = humantime::format_rfc3339_millis(now);
                let (source, message) = (logfmt(&source), logfmt(&fields.message));
                write!(writer, "time={time} level={level} source={source} msg={message}")?;
                writeln!(writer, "{}", fields.rest)
            }
            Self::Json => {
                let time = humantime::format_rfc3339_nanos(now);
                let (source, message) = (json(&source), json(&fields.message));
                write!(writer, r#"{{"time":"{time}","level":"{level}","source":{source},"#)?;
                writeln!(writer, r#""msg":{message}{}}}"#, fields.rest)
            }
        }
    }
}

/// The file's name without its folders, and the line, of the statement that logs.
fn source_of(event: &Event<'_>) -> String {
    let path = event.metadata().file().unwrap_or_default();
    let file = path.rsplit('/').next().unwrap_or(path);
    format!("{file}:{}", event.metadata().line().unwrap_or_default())
}

/// A record's message, and its other fields as they will stand behind it.
struct Fields {
    format: Format,
    message: String,
    rest: String,
}

impl Fields {
    fn of(event: &Event<'_>, format: Format) -> Self {
        let mut fields = Self { format, message: String::new(), rest: String::new() };
        event.record(&mut fields);
        fields
    }

    /// Takes a value that has to be quoted where its text asks for it.
    fn text(&mut self, field: &Field, text: String) {
        match (field.name(), self.format) {
            ("message", _) => self.message = text,
            (_, Format::Logfmt) => self.bare(field, &logfmt(&text)),
            (_, Format::Json) => self.bare(field, &json(&text)),
        }
    }

    /// Takes a value that stands for itself in both formats.
    fn bare(&mut self, field: &Field, value: &str) {
        let pair = match self.format {
            Format::Logfmt => format!(" {}={value}", logfmt(field.name())),
            Format::Json => format!(",{}:{value}", json(field.name())),
        };
        self.rest.push_str(&pair);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        self.text(field, text);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.bare(field, &value.to_string());
        } else {
            // JSON has no number for it.
            self.text(field, value.to_string());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field, &value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field, &value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, &value.to_string());
    }
}

/// The text as a JSON string.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The text as a logfmt key or value: as it is, or quoted as Go's `strconv.Quote` does.
fn logfmt(text: &str) -> String {
    if !text.is_empty() && !text.chars().any(needs_quotes) {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        push_escaped(&mut quoted, letter);
    }
    quoted.push('"');
    quoted
}

fn needs_quotes(letter: char) -> bool {
    matches!(letter, ' ' | '=' | '"') || letter.is_control() || is_invisible(letter)
}

/// Whether a letter beyond ASCII would not be seen, or be seen as something else.
fn is_invisible(letter: char) -> bool {
    !letter.is_ascii() && letter.escape_debug().len() > 1
}

fn push_escaped(quoted: &mut String, letter: char) {
    let escaped = match letter {
        '"' => r#"\""#,
        '\\' => r"\\",
        '\u{7}' => r"\a",
        '\u{8}' => r"\b",
        '\u{c}' => r"\f",
        '\n' => r"\n",
        '\r' => r"\r",
        '\t' => r"\t",
        '\u{b}' => r"\v",
        _ if letter.is_ascii_control() => &format!(r"\x{:02x}", u32::from(letter)),
        _ if letter > '\u{ffff}' && is_invisible(letter) => {
            &format!(r"\U{:08x}", u32::from(letter))
        }
        _ if letter.is_control() || is_invisible(letter) => {
            &format!(r"\u{:04x}", u32::from(letter))
        }
        _ => return quoted.push(letter),
    };
    quoted.push_str(escaped);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing::{debug, error, info, warn};

    use super::*;

    #[test]
    fn a_record_is_logged_as_prometheus_programs_do() {
        let record = || info!(udp = ":9125", tcp = "", lanes = 4, "Accepting StatsD Traffic");
        check(
            Format::Logfmt,
            record,
            "time=T level=INFO source=log.rs:N msg=\"Accepting StatsD Traffic\" udp=:9125 tcp=\"\" \
             lanes=4\n",
        );
        check(
            Format::Json,
            record,
            "{\"time\":\"T\",\"level\":\"INFO\",\"source\":\"log.rs:N\",\
             \"msg\":\"Accepting StatsD Traffic\",\"udp\":\":9125\",\"tcp\":\"\",\"lanes\":4}\n",
        );
    }

    #[test]
    fn levels_are_spelled_in_capitals() {
        check(Format::Logfmt, || debug!("d"), "time=T level=DEBUG source=log.rs:N msg=d\n");
        check(Format::Logfmt, || warn!("w"), "time=T level=WARN source=log.rs:N msg=w\n");
        check(Format::Logfmt, || error!("e"), "time=T level=ERROR source=log.rs:N msg=e\n");
    }

    #[test]
    fn numbers_and_truth_values_are_no_strings_in_json() {
        let prefix = "{\"time\":\"T\",\"level\":\"INFO\",\"source\":\"log.rs:N\",\"msg\":\"m\"";
        let check_rest =
            |record: fn(), rest| check(Format::Json, record, &format!("{prefix}{rest}\n"));
        check_rest(
            || info!(a = 1.5, b = true, c = -3, d = 7u64, "m"),
            ",\"a\":1.5,\"b\":true,\"c\":-3,\"d\":7}",
        );
        check_rest(|| info!(a = f64::NAN, b = f64::INFINITY, "m"), ",\"a\":\"NaN\",\"b\":\"inf\"}");
        check_rest(
            || info!(a = ?Some(1), b = %"x\"\n", "m"),
            ",\"a\":\"Some(1)\",\"b\":\"x\\\"\\n\"}",
        );
    }

    #[test]
    fn an_error_is_logged_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read rules.yml")]
        struct ReadRules(#[source] io::Error);

        let record = || {
            let error = ReadRules(io::Error::other("disk gone"));
            error!(error = &error as &dyn Error, "m");
        };
        let expected =
            "time=T level=ERROR source=log.rs:N msg=m error=\"cannot read rules.yml: disk gone\"\n";
        check(Format::Logfmt, record, expected);
    }

    #[test]
    fn a_value_is_quoted_where_go_quotes_it() {
        check_quoting("[::]:9125", "[::]:9125");
        check_quoting("{a:b,c;d'e}", "{a:b,c;d'e}");
        check_quoting("ünï", "ünï");
        check_quoting(r"a\b", r"a\b");
        check_quoting("<&>", "<&>");
        check_quoting("", r#""""#);
        check_quoting("x y", r#""x y""#);
        check_quoting("k=v", r#""k=v""#);
        check_quoting("q\"uo", r#""q\"uo""#);
        check_quoting("tab\there\\", r#""tab\there\\""#);
        check_quoting("new\nline\r\u{7}\u{8}\u{b}\u{c}", r#""new\nline\r\a\b\v\f""#);
        check_quoting("\0\u{7f}", r#""\x00\x7f""#);
        check_quoting("\u{85}\u{2028}\u{a0}nbsp", r#""\u0085\u2028\u00a0nbsp""#);
        check_quoting("\u{e0001}", r#""\U000e0001""#);
    }

    #[track_caller]
    fn check_quoting(text: &str, expected: &str) {
        assert_eq!(logfmt(text), expected);
    }

    /// Runs `record` under a log of its own and compares what it wrote, with the time as `T` and
    /// the line as `N`.
    #[track_caller]
    fn check(format: Format, record: impl FnOnce(), expected: &str) {
        let page = Arc::new(Mutex::new(Vec::new()));
        let log = tracing_subscriber::fmt()
            .event_format(format)
            .with_max_level(LevelFilter::DEBUG)
            .with_writer({
                let page = Arc::clone(&page);
                move || Page(Arc::clone(&page))
            })
            .finish();
        tracing::subscriber::with_default(log, record);
        let written = String::from_utf8(page.lock().clone()).expect("the log is text");
        let time =
            regex::Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.(\d{3}|\d{9})Z").expect("valid");
        let line = regex::Regex::new(r"log\.rs:\d+").expect("valid");
        let written = time.replace(&written, "T");
        assert_eq!(line.replace(&written, "log.rs:N"), expected);
    }

    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

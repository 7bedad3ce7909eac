//! `tallyd grafana query`: asks Prometheus, and prints or draws the answer.

use std::collections::BTreeSet;
use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use jiff::tz::TimeZone;

use super::source::warn;
use super::{CommandError, ConnectionArgs, DIFFERS, output, pick};
use crate::chart::plot::{Line, MIN_WIDTH, Plot, Theme};
use crate::chart::terminal::Terminal;
use crate::chart::{Clock, Unit, picture};
use crate::command;
use crate::grafana::prometheus::{Answer, Range, Series};
use when::Span;

mod server;
mod when;

pub(super) const EXAMPLES: &str = "\
Examples:
  What is down now, through Grafana's data source:
    tallyd grafana query 'up == 0' --grafana.url http://grafana:3000
  A picture of six hours, from Prometheus itself:
    tallyd grafana query 'sum by (code) (rate(reqs_total[5m]))' --from -6h --step 1m \\
        --prometheus http://prometheus:9090 --plot requests.png

Exit codes: 0 done, 1 nothing was found, 2 it could not be done.";

/// Rows of a chart in a terminal; more would scroll away.
const CHART_ROWS: u16 = 20;
/// The width of terminals that do not tell theirs.
const USUAL_COLUMNS: u16 = 80;

/// Asks Prometheus, and prints or draws what it answers.
#[derive(Args, Debug)]
pub(super) struct QueryArgs {
    /// What Prometheus is to evaluate
    #[arg(value_name = "EXPR")]
    expression: String,
    #[command(flatten)]
    when: WhenArgs,
    #[command(flatten)]
    result: ResultArgs,
    /// Ask this Prometheus, without Grafana; user:password may stand before its host
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// The data source's uid or name [default: the only one, or Grafana's default]
    #[arg(long, value_name = "UID", conflicts_with = "prometheus")]
    datasource: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Which times the expression is evaluated at.
#[derive(Args, Debug)]
#[command(next_help_heading = "When")]
struct WhenArgs {
    /// First time: now, -6h, 2026-05-01, 2026-05-01T10:00, Unix seconds [default: -1h]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// Last time [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// From one time to the next [default: some 300 steps]
    #[arg(long, value_name = "TIME", value_parser = when::parse_step)]
    step: Option<f64>,
    /// One time only, which is what happens without any of these
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, conflicts_with_all = ["from", "to", "step"])]
    at: Option<String>,
    /// Time zone of what is read and shown, such as Europe/Berlin or UTC [default: this machine's]
    #[arg(long, value_name = "ZONE", value_parser = parse_zone)]
    tz: Option<TimeZone>,
}

/// What becomes of the answer.
#[derive(Args, Debug)]
#[command(next_help_heading = "Result")]
struct ResultArgs {
    /// How values are printed
    #[arg(long, value_enum, default_value = "table")]
    output: Form,
    /// Draw in the terminal instead
    #[arg(long, conflicts_with_all = ["plot", "output"])]
    chart: bool,
    /// Draw into a file instead: .svg or .png
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    plot: Option<PathBuf>,
    /// Light or dark
    #[arg(long, value_enum, default_value = "light")]
    theme: Theme,
    /// What the values of a drawing are
    #[arg(long, value_enum, default_value = "number")]
    unit: UnitName,
    /// What stands above a drawing [default: the expression]
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// The width of a drawing in a file; a PNG has two pixels for each
    #[arg(long, value_name = "PIXELS", default_value_t = 800, value_parser = clap::value_parser!(u16).range(320..=8000))]
    width: u16,
}

/// How values are printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// A table
    Table,
    /// Comma-separated values
    Csv,
    /// One JSON document
    Json,
}

/// What values are.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum UnitName {
    /// Anything
    Number,
    /// Seconds, from ns to d
    Seconds,
    /// Bytes, in powers of 1,024
    Bytes,
    /// A share of one, shown as per cent
    Ratio,
    /// Per cent
    Percent,
    /// So many a second
    PerSecond,
}

impl From<UnitName> for Unit {
    fn from(name: UnitName) -> Self {
        match name {
            UnitName::Number => Self::Number,
            UnitName::Seconds => Self::Time,
            UnitName::Bytes => Self::Bytes,
            UnitName::Ratio => Self::Share,
            UnitName::Percent => Self::Percent,
            UnitName::PerSecond => Self::PerSecond,
        }
    }
}

impl QueryArgs {
    pub(super) async fn run(&self) -> Result<ExitCode, CommandError> {
        let zone = self.when.tz.clone().unwrap_or_else(TimeZone::system);
        let span = self.when.span(zone.clone(), self.result.is_drawn())?;
        let clock = Clock::new(zone);
        let answer = self.ask(span).await?;
        warn(&answer.warnings);
        self.show(&answer, span, &clock)?;
        let is_empty = answer.series.is_empty();
        Ok(if is_empty { ExitCode::from(DIFFERS) } else { ExitCode::SUCCESS })
    }

    async fn ask(&self, span: Span) -> Result<Answer, CommandError> {
        if let Some(url) = &self.prometheus {
            return server::ask(url, &self.expression, span, self.connection.access.timeout).await;
        }
        let client = self.connection.client()?;
        let source = pick::datasource(&client, self.datasource.as_deref()).await?;
        let answer = match span {
            Span::At(time) => client.query(&source.uid, &self.expression, Some(time)).await,
            Span::Over(range) => client.query_range(&source.uid, &self.expression, range).await,
        };
        answer.map_err(CommandError::failed(format!("ask the data source \"{}\"", source.name)))
    }

    fn show(&self, answer: &Answer, span: Span, clock: &Clock) -> Result<(), CommandError> {
        if let Span::Over(range) = span
            && self.result.is_drawn()
        {
            let plot = self.plot(answer, range, clock);
            return match &self.result.plot {
                Some(path) => write_plot(path, &plot),
                None => output::print(&terminal().draw(&plot)),
            };
        }
        match self.result.output {
            Form::Table => output::print(&table(&answer.series, clock)),
            Form::Csv => {
                let text = csv(&answer.series, clock);
                output::print(&text.map_err(CommandError::failed("write the values as CSV"))?)
            }
            Form::Json => command::print_json(answer).map_err(CommandError::Print),
        }
    }

    fn plot(&self, answer: &Answer, range: Range, clock: &Clock) -> Plot {
        let lines = answer.series.iter().zip(names(&answer.series)).map(|(series, name)| Line {
            name,
            points: series.points.iter().map(|point| (point.time, point.value)).collect(),
        });
        Plot {
            title: self.result.title.clone().unwrap_or_else(|| one_line(&self.expression)),
            lines: lines.collect(),
            unit: self.result.unit.into(),
            range: (range.start, range.end),
            step: range.step,
            clock: clock.clone(),
            theme: self.result.theme,
            width: f64::from(self.result.width).max(MIN_WIDTH),
        }
    }
}

impl ResultArgs {
    fn is_drawn(&self) -> bool {
        self.chart || self.plot.is_some()
    }
}

fn write_plot(path: &Path, plot: &Plot) -> Result<(), CommandError> {
    let svg = plot.to_svg();
    let bytes = match path.extension().and_then(|ending| ending.to_str()) {
        Some("svg") => svg.into_bytes(),
        Some("png") => picture::png(&svg).map_err(CommandError::failed("draw the picture"))?,
        _ => {
            let text = format!("{} ends neither in .svg nor in .png", path.display());
            return Err(CommandError::Usage(text));
        }
    };
    fs::write(path, bytes)
        .map_err(|source| CommandError::Write { path: path.to_owned(), source })?;
    output::print(&format!("wrote {}\n", path.display()))
}

fn terminal() -> Terminal {
    let stdout = std::io::stdout();
    let columns = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| size.ws_col);
    let has_colours = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    Terminal {
        columns: if columns == 0 { USUAL_COLUMNS } else { columns },
        rows: CHART_ROWS,
        colours: has_colours,
    }
}

/// The labels that some series have, `__name__` first.
fn label_names(series: &[Series]) -> Vec<&str> {
    let names: BTreeSet<&str> =
        series.iter().flat_map(|series| series.labels.keys()).map(String::as_str).collect();
    names.into_iter().collect()
}

/// What tells the series apart; of a single one, all that it is.
fn names(series: &[Series]) -> Vec<String> {
    let labels = label_names(series);
    let is_told = |label: &&&str| {
        let mut values = series.iter().map(|series| series.labels.get(**label));
        let first = values.next();
        series.len() == 1 || values.any(|value| Some(value) != first)
    };
    let labels: Vec<&str> = labels.iter().filter(is_told).copied().collect();
    series.iter().map(|series| name(series, &labels)).collect()
}

fn name(series: &Series, labels: &[&str]) -> String {
    let told = labels.iter().filter_map(|label| Some((*label, series.labels.get(*label)?)));
    let told: Vec<(&str, &String)> = told.collect();
    match told.as_slice() {
        [] => "value".to_owned(),
        // A value that nothing else could be the value of needs no label beside it.
        [(_, value)] => (*value).clone(),
        told => {
            let pairs = told.iter().map(|(label, value)| match *label {
                "__name__" => (*value).clone(),
                label => format!("{label}={value}"),
            });
            pairs.collect::<Vec<_>>().join(" ")
        }
    }
}

/// Time, labels and value of each point.
fn rows<'a>(
    series: &'a [Series],
    labels: &'a [&str],
    clock: &'a Clock,
) -> impl Iterator<Item = Vec<String>> + 'a {
    series.iter().flat_map(move |series| {
        series.points.iter().map(move |point| {
            let label = |label: &&str| series.labels.get(*label).cloned().unwrap_or_default();
            let values = labels.iter().map(label);
            let first = [clock.stamp(point.time), number(point.value)];
            first.into_iter().chain(values).collect()
        })
    })
}

fn header(labels: &[&str]) -> Vec<String> {
    ["time", "value"].iter().chain(labels).map(|name| (*name).to_owned()).collect()
}

fn table(series: &[Series], clock: &Clock) -> String {
    if series.is_empty() {
        return "nothing found\n".to_owned();
    }
    let labels = label_names(series);
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(header(&labels));
    table.add_rows(rows(series, &labels, clock));
    table.trim_fmt() + "\n"
}

fn csv(
    series: &[Series],
    clock: &Clock,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let labels = label_names(series);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header(&labels))?;
    for row in rows(series, &labels, clock) {
        writer.write_record(row)?;
    }
    let bytes = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
    Ok(String::from_utf8(bytes)?)
}

/// A value as Prometheus writes it.
fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}

fn one_line(expression: &str) -> String {
    expression.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn parse_zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text)
        .map_err(|_| "no such time zone; write for instance Europe/Berlin".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grafana::prometheus::Point;

    #[test]
    fn series_are_named_by_what_tells_them_apart() {
        check(&["job=a code=200", "job=a code=500"], &["200", "500"]);
        check(&["job=a code=200", "job=b code=500"], &["code=200 job=a", "code=500 job=b"]);
        check(&["__name__=up job=a"], &["up job=a"]);
        check(&["job=a", ""], &["a", "value"]);
        check(&[""], &["value"]);
        check(&[], &[]);
    }

    #[test]
    fn values_are_written_with_their_times_and_labels() {
        let mut series = [series("code=a,b job="), series("job=x")];
        series[0].points =
            vec![Point { time: 0.0, value: f64::NAN }, Point { time: 1.5, value: 2.0 }];
        series[1].points = vec![Point { time: 0.0, value: f64::NEG_INFINITY }];
        let clock = Clock::new(TimeZone::get("Asia/Tokyo").unwrap());
        assert_eq!(
            csv(&series, &clock).unwrap(),
            "time,value,code,job\n\
             1970-01-01T09:00:00+09:00,NaN,\"a,b\",\n\
             1970-01-01T09:00:01.500+09:00,2,\"a,b\",\n\
             1970-01-01T09:00:00+09:00,-Inf,,x\n"
        );
        assert!(table(&series, &clock).contains("a,b"));
        assert_eq!(table(&[], &clock), "nothing found\n");
    }

    #[track_caller]
    fn check(texts: &[&str], expected: &[&str]) {
        let all: Vec<Series> = texts.iter().map(|text| series(text)).collect();
        assert_eq!(names(&all), expected);
    }

    fn series(text: &str) -> Series {
        let labels = text.split(' ').filter_map(|label| label.split_once('='));
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Series { labels, points: Vec::new() }
    }
}

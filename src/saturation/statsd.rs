//! What gunicorn and uWSGI send of themselves as StatsD, under the names that their presets give.
//!
//! uWSGI sends how many workers are busy. gunicorn does not, but how long each request took: what
//! requests took in a minute, divided by a minute, is how many were handled at once on average. That is
//! how many sync workers were busy. A worker that never answers is not seen that way.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

use super::{Backlog, Facts, Source};
use crate::aggregate::cells::ColumnId;
use crate::aggregate::histogram::HistogramValue;
use crate::aggregate::view::FamilyView;
use crate::aggregate::{Reading, Registry, Series, label_pairs};

/// How often is looked at what was sent.
const INTERVAL_MILLIS: u64 = 5_000;
/// What means are taken over, and how long uWSGI may be silent, which sends every few seconds.
const WINDOW_MILLIS: u64 = 60_000;
/// Clients choose the names of applications, so there is an end to them.
const MAX_APPS: usize = 200;

/// Which presets are in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presets {
    /// `gunicorn`
    pub gunicorn: bool,
    /// `uwsgi`
    pub uwsgi: bool,
}

/// Servers that send StatsD.
#[derive(Debug)]
pub(super) struct Statsd {
    presets: Presets,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    last_millis: Option<u64>,
    /// By application.
    gunicorn: BTreeMap<String, Gunicorn>,
    uwsgi: BTreeMap<String, Pushed>,
}

/// What one application's uWSGI has sent lately.
#[derive(Debug, Default, PartialEq)]
struct Pushed {
    busy: Option<f64>,
    idle: Option<f64>,
    waiting: Option<f64>,
}

/// What one application's gunicorn has sent.
#[derive(Debug, Default)]
struct Gunicorn {
    /// None until the master has sent it, which it does when it changes.
    workers: Option<f64>,
    /// Sums of the last minute, the oldest first.
    sums: VecDeque<Sums>,
}

/// What has been added up since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    at_millis: u64,
    request_seconds: f64,
    backlog: f64,
    /// How often the backlog was sent.
    backlogs: f64,
}

impl Statsd {
    pub(super) fn new(presets: Presets) -> Self {
        Self { presets, seen: Mutex::default() }
    }

    /// The presets in force.
    pub(super) fn presets(&self) -> Presets {
        self.presets
    }

    /// Looks at what is in the registry, if it is time for that.
    pub(super) fn look(&self, registry: &Registry, now_millis: u64) {
        if self.presets == Presets::default() {
            return;
        }
        let mut seen = self.seen.lock();
        let is_early = |last: u64| now_millis < last.saturating_add(INTERVAL_MILLIS);
        if !seen.last_millis.is_some_and(is_early) {
            seen.last_millis = Some(now_millis);
            let reading = registry.read(now_millis);
            if self.presets.gunicorn {
                seen.look_at_gunicorn(&reading, now_millis);
            }
            if self.presets.uwsgi {
                seen.look_at_uwsgi(&reading, now_millis);
            }
        }
    }

    /// What is known of each application.
    pub(super) fn facts(&self) -> Vec<Facts> {
        let seen = self.seen.lock();
        let gunicorn = seen.gunicorn.iter().map(|(app, gunicorn)| gunicorn.facts(app));
        let uwsgi = seen.uwsgi.iter().map(|(app, pushed)| pushed.facts(app));
        gunicorn.chain(uwsgi).collect()
    }
}

impl Seen {
    fn look_at_gunicorn(&mut self, reading: &Reading, now_millis: u64) {
        let mut found: BTreeMap<String, (Option<f64>, Sums)> = BTreeMap::new();
        each(reading, "gunicorn_workers", Source::Gunicorn, &mut found, |(workers, _), series| {
            let more = gauge(reading, series);
            *workers = more.map(|more| workers.unwrap_or(0.0) + more).or(*workers);
        });
        let durations = "gunicorn_request_duration_seconds";
        each(reading, durations, Source::Gunicorn, &mut found, |(_, sums), series| {
            sums.request_seconds += observed(reading, series).0;
        });
        let backlog = "gunicorn_backlog_connections";
        each(reading, backlog, Source::Gunicorn, &mut found, |(_, sums), series| {
            let (sum, count) = observed(reading, series);
            sums.backlog += sum;
            sums.backlogs += count;
        });
        self.gunicorn.retain(|app, _| found.contains_key(app));
        for (app, (workers, sums)) in found {
            let gunicorn = self.gunicorn.entry(app).or_default();
            gunicorn.workers = workers;
            gunicorn.add(Sums { at_millis: now_millis, ..sums });
        }
    }

    fn look_at_uwsgi(&mut self, reading: &Reading, now_millis: u64) {
        let value = |series: &Series| {
            let silence = now_millis.saturating_sub(reading.values.touched_millis(series));
            gauge(reading, series).filter(|_| silence <= WINDOW_MILLIS)
        };
        let mut found: BTreeMap<String, Pushed> = BTreeMap::new();
        each(reading, "uwsgi_workers", Source::UwsgiPush, &mut found, |pushed, series| {
            let of_state = match label(series, "state") {
                Some("busy") => &mut pushed.busy,
                Some("idle") => &mut pushed.idle,
                _ => return,
            };
            *of_state = value(series).map(|more| of_state.unwrap_or(0.0) + more).or(*of_state);
        });
        let queue = "uwsgi_socket_listen_queue";
        each(reading, queue, Source::UwsgiPush, &mut found, |Pushed { waiting, .. }, series| {
            *waiting = value(series).map(|more| waiting.unwrap_or(0.0) + more).or(*waiting);
        });
        found.retain(|_, pushed| *pushed != Pushed::default());
        self.uwsgi = found;
    }
}

impl Pushed {
    fn facts(&self, app: &str) -> Facts {
        let busy_ratio = self.busy.zip(self.idle).map(|(busy, idle)| busy / (busy + idle));
        let busy = self.busy.map(|busy| ("busy", busy));
        Facts {
            backlog: Backlog { length: self.waiting, ..Backlog::default() },
            workers: busy.into_iter().chain(self.idle.map(|idle| ("idle", idle))).collect(),
            busy_ratio: busy_ratio.filter(|ratio| ratio.is_finite()),
            ..Facts::new(Source::UwsgiPush, app)
        }
    }
}

impl Gunicorn {
    fn add(&mut self, sums: Sums) {
        let falls = |last: &Sums| {
            sums.request_seconds < last.request_seconds || sums.backlogs < last.backlogs
        };
        // Series have left the page, or a gunicorn began anew; the difference means nothing.
        if self.sums.back().is_some_and(falls) {
            self.sums.clear();
        }
        let is_old = |next: &Sums| sums.at_millis.saturating_sub(next.at_millis) >= WINDOW_MILLIS;
        while self.sums.get(1).is_some_and(is_old) {
            self.sums.pop_front();
        }
        self.sums.push_back(sums);
    }

    fn facts(&self, app: &str) -> Facts {
        let facts = Facts::new(Source::Gunicorn, app);
        let (Some(first), Some(last)) = (self.sums.front(), self.sums.back()) else { return facts };
        let seconds = last.at_millis.saturating_sub(first.at_millis) as f64 / 1000.0;
        let busy = (last.request_seconds - first.request_seconds) / seconds;
        let busy = (seconds > 0.0).then_some(busy);
        let backlogs = last.backlogs - first.backlogs;
        let backlog = (last.backlog - first.backlog) / backlogs;
        // Requests that took longer than the window, or threads, may make it more than there are.
        let busy = busy.map(|busy| self.workers.map_or(busy, |all| busy.min(all)));
        let workers = match (self.workers, busy) {
            (Some(all), Some(busy)) => vec![("busy", busy), ("idle", all - busy)],
            (Some(all), None) => vec![("unknown", all)],
            (None, busy) => busy.map(|busy| ("busy", busy)).into_iter().collect(),
        };
        let all = self.workers.filter(|all| *all > 0.0);
        let length = (backlogs > 0.0).then_some(backlog);
        Facts {
            backlog: Backlog { length, ..Backlog::default() },
            busy_ratio: all.zip(busy).map(|(all, busy)| busy / all),
            workers,
            ..facts
        }
    }
}

/// Adds each series of a family to what is known of its application, up to an end of those.
fn each<T: Default>(
    reading: &Reading,
    name: &str,
    source: Source,
    found: &mut BTreeMap<String, T>,
    add: impl Fn(&mut T, &Series),
) {
    for series in reading.view.family(name).into_iter().flat_map(FamilyView::series) {
        let app = label(series, "app").unwrap_or(source.as_str());
        // A name with characters that are escaped is nobody's.
        if app.contains('\\') {
            continue;
        }
        if found.len() < MAX_APPS || found.contains_key(app) {
            add(found.entry(app.to_owned()).or_default(), series);
        }
    }
}

/// The value of a label as the page has it.
fn label<'a>(series: &'a Series, wanted: &str) -> Option<&'a str> {
    let labels = str::from_utf8(series.labels()).ok()?;
    label_pairs(labels).find(|(name, _)| *name == wanted).map(|(_, value)| value)
}

/// A gauge's value, as far as it can be a number of workers or connections.
fn gauge(reading: &Reading, series: &Series) -> Option<f64> {
    let value = match series.cell.column {
        ColumnId::Gauge => Some(reading.values.gauge(series.cell.id)),
        ColumnId::Combined(layout) => reading.values.combined(series.cell.id, layout),
        _ => None,
    };
    value.filter(|value| value.is_finite() && *value >= 0.0)
}

/// Sum and number of a histogram's observations.
fn observed(reading: &Reading, series: &Series) -> (f64, f64) {
    let mut value = HistogramValue::default();
    if let ColumnId::Histogram(_) = series.cell.column {
        reading.values.histogram(series.cell, false, &mut value);
    }
    (value.sum, value.counts.iter().sum::<u64>() as f64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::compat::Compat;
    use crate::ingest::{self, Ingest};
    use crate::map::preset::Preset;
    use crate::parse;
    use crate::telemetry::Telemetry;

    const GUNICORN: Presets = Presets { gunicorn: true, uwsgi: false };
    const UWSGI: Presets = Presets { gunicorn: false, uwsgi: true };

    #[test]
    fn what_requests_took_tells_how_many_workers_were_busy() {
        let duration = |millis| format!("shop.gunicorn.request.duration:{millis}|ms");
        let later = [duration(30_000), duration(90_000)].join("\n");
        check(
            GUNICORN,
            &[(0, "shop.gunicorn.workers:4|g"), (60_000, &later)],
            &["gunicorn shop busy=2 idle=2 ratio=0.5 waiting=-"],
        );
        check(
            GUNICORN,
            &[(0, "gunicorn.workers:4|g")],
            &["gunicorn gunicorn unknown=4 ratio=- waiting=-"],
        );
        check(
            GUNICORN,
            &[(0, "gunicorn.request.duration:1|ms"), (9_000, "gunicorn.request.duration:9000|ms")],
            &["gunicorn gunicorn busy=1 ratio=- waiting=-"],
        );
    }

    #[test]
    fn what_was_long_ago_does_not_count() {
        let busy = "gunicorn.workers:1|g\ngunicorn.request.duration:60000|ms";
        check(
            GUNICORN,
            &[
                (0, "gunicorn.workers:1|g"),
                (10_000, busy),
                (50_000, ""),
                (70_000, ""),
                (80_000, ""),
            ],
            &["gunicorn gunicorn busy=0 idle=1 ratio=0 waiting=-"],
        );
    }

    #[test]
    fn requests_longer_than_the_window_make_no_more_workers_than_there_are() {
        check(
            GUNICORN,
            &[(0, "gunicorn.workers:2|g"), (60_000, "gunicorn.request.duration:900000|ms")],
            &["gunicorn gunicorn busy=2 idle=0 ratio=1 waiting=-"],
        );
    }

    #[test]
    fn the_backlog_is_the_mean_of_what_was_sent() {
        check(
            GUNICORN,
            &[(0, "gunicorn.backlog:100|h"), (5_000, "gunicorn.backlog:4|h\ngunicorn.backlog:8|h")],
            &["gunicorn gunicorn busy=0 ratio=- waiting=6"],
        );
    }

    #[test]
    fn uwsgi_sends_what_its_workers_do() {
        let lines = "a.core.busy_workers:3|g\na.core.idle_workers:1|g\n\
                     a.socket.0.listen_queue:2|g\na.socket.1.listen_queue:5|g\n\
                     b.core.busy_workers:0|g";
        let expected =
            ["uwsgi a busy=3 idle=1 ratio=0.75 waiting=7", "uwsgi b busy=0 ratio=- waiting=-"];
        check(UWSGI, &[(0, lines)], &expected);
        check(UWSGI, &[(0, lines), (100_000, "")], &[]);
    }

    #[test]
    fn numbers_that_cannot_be_are_left_out() {
        let lines =
            "a.core.busy_workers:-3|g\na.core.idle_workers:1|g\na.socket.0.listen_queue:-1|g";
        check(UWSGI, &[(0, lines)], &["uwsgi a idle=1 ratio=- waiting=-"]);
        let lines = "gunicorn.workers:-1|g\ngunicorn.workers:2|g|#app:a\"b";
        check(GUNICORN, &[(0, lines)], &["gunicorn gunicorn ratio=- waiting=-"]);
    }

    #[test]
    fn there_is_an_end_to_applications() {
        let apps = (0..=MAX_APPS).map(|app| format!("a{app}.gunicorn.workers:1|g"));
        let lines = apps.collect::<Vec<_>>().join("\n");
        assert_eq!(facts(GUNICORN, &[(0, &lines)]).len(), MAX_APPS);
    }

    /// What is known after lines came at some milliseconds, and were looked at then.
    fn facts(presets: Presets, steps: &[(u64, &str)]) -> Vec<Facts> {
        let preset: Preset = if presets.gunicorn { "gunicorn" } else { "uwsgi" }.parse().unwrap();
        let registry = Arc::new(Registry::new(Compat::Extended, []));
        let config = ingest::Config {
            parse: parse::Options::new(Compat::Extended),
            rules: Arc::new(preset.rules().unwrap()),
            mapper_cache: crate::map::cache::Config::default(),
            line_cache_bytes: 0,
            event_queue: None,
            start: Instant::now(),
            member_seed: 0,
            ttl: crate::map::ttl::Ttls::default(),
        };
        let mut lane = Ingest::new(config, &registry, &Arc::new(Telemetry::default()));
        let statsd = Statsd::new(presets);
        for (at_millis, lines) in steps {
            lane.begin_batch();
            for line in lines.lines() {
                lane.line(line.as_bytes(), ingest::Sender::Unknown);
            }
            statsd.look(&registry, *at_millis);
        }
        statsd.facts()
    }

    #[track_caller]
    fn check(presets: Presets, steps: &[(u64, &str)], expected: &[&str]) {
        let words = |facts: &Facts| {
            let number = |value: Option<f64>| value.map_or("-".to_owned(), |one| one.to_string());
            let workers = facts.workers.iter().map(|(state, count)| format!("{state}={count} "));
            format!(
                "{} {} {}ratio={} waiting={}",
                facts.source.as_str(),
                facts.app,
                workers.collect::<String>(),
                number(facts.busy_ratio),
                number(facts.backlog.length)
            )
        };
        let found: Vec<String> = facts(presets, steps).iter().map(words).collect();
        assert_eq!(found, expected);
    }
}

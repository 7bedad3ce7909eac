//! Times on the command line: absolute ones, and ones before now.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::WhenArgs;
use crate::grafana::cli::CommandError;
use crate::grafana::prometheus::Range;
use crate::units::parse_go_duration;

/// So many steps a range has when nobody says otherwise: a point in two or three pixels.
const USUAL_STEPS: f64 = 300.0;
/// Prometheus refuses to evaluate more often.
const MAX_STEPS: f64 = 11_000.0;
/// Steps that people find round.
const ROUND_STEPS: [f64; 15] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0,
    21_600.0,
];

/// When an expression is evaluated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Span {
    /// Once, in Unix seconds.
    At(f64),
    /// Again and again.
    Over(Range),
}

impl WhenArgs {
    /// What the flags say; a drawing always covers some time.
    pub(super) fn span(&self, zone: TimeZone, is_drawn: bool) -> Result<Span, CommandError> {
        let now = Timestamp::now().to_zoned(zone);
        let read = |text: &Option<String>, default: &str| {
            read_time(text.as_deref().unwrap_or(default), &now).map_err(CommandError::Usage)
        };
        let is_range = is_drawn || self.from.is_some() || self.to.is_some() || self.step.is_some();
        if !is_range {
            return Ok(Span::At(read(&self.at, "now")?));
        }
        if is_drawn && self.at.is_some() {
            let text = "a drawing covers some time; say from when with --from instead of --at";
            return Err(CommandError::Usage(text.to_owned()));
        }
        let (start, end) = (read(&self.from, "-1h")?, read(&self.to, "now")?);
        let step = self.step.unwrap_or_else(|| usual_step(end - start));
        check(Range { start, end, step }).map(Span::Over).map_err(CommandError::Usage)
    }
}

fn check(range: Range) -> Result<Range, String> {
    let Range { start, end, step } = range;
    if start >= end {
        return Err("--from is not before --to".to_owned());
    }
    let steps = (end - start) / step;
    if steps > MAX_STEPS {
        return Err(format!(
            "that is {steps:.0} steps, and Prometheus takes {MAX_STEPS}; say a --step of {:.0}s or \
             more",
            ((end - start) / MAX_STEPS).ceil()
        ));
    }
    Ok(range)
}

fn usual_step(seconds: f64) -> f64 {
    let wanted = seconds / USUAL_STEPS;
    let round = ROUND_STEPS.into_iter().find(|step| *step >= wanted);
    round.unwrap_or_else(|| (wanted / 86_400.0).ceil() * 86_400.0)
}

/// Reads a step, such as `1m`, or `60` for seconds.
pub(super) fn parse_step(text: &str) -> Result<f64, String> {
    let seconds = match text.parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => parse_go_duration(text).map_err(|error| error.to_string())? as f64 / 1e9,
    };
    if seconds.is_finite() && seconds > 0.0 {
        Ok(seconds)
    } else {
        Err("must be more than zero".to_owned())
    }
}

/// Reads a time: `now`, `-6h`, `now-1d`, a date with or without a time of day and an offset, or
/// Unix seconds. What has no offset is in the zone of `now`.
fn read_time(text: &str, now: &Zoned) -> Result<f64, String> {
    let seconds = |time: &Zoned| time.timestamp().as_duration().as_secs_f64();
    let after_now = text.strip_prefix("now").unwrap_or(text);
    if after_now.is_empty() && text == "now" {
        return Ok(seconds(now));
    }
    let back = after_now.strip_prefix('-').and_then(|span| span.parse::<jiff::Span>().ok());
    let forth = after_now.strip_prefix('+').and_then(|span| span.parse::<jiff::Span>().ok());
    if let Some(span) = back.map(jiff::Span::negate).or(forth) {
        return now
            .checked_add(span)
            .map(|time| seconds(&time))
            .map_err(|_| format!("`{text}` is before or after all calendars"));
    }
    if let Some(unix) = text.parse::<f64>().ok().filter(|unix| (0.0..1e15).contains(unix)) {
        return Ok(unix);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_duration().as_secs_f64());
    }
    let local = text.parse::<DateTime>().and_then(|time| time.to_zoned(now.time_zone().clone()));
    local.map(|time| seconds(&time)).map_err(|_| {
        format!(
            "`{text}` is no time; write now, -6h, -7d, 2026-05-01, 2026-05-01T10:00, \
             2026-05-01T10:00:00Z or Unix seconds"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative_or_absolute() {
        check_time("now", "2026-03-29T12:00:00+02:00");
        check_time("-6h", "2026-03-29T06:00:00+02:00");
        check_time("now-1h30m", "2026-03-29T10:30:00+02:00");
        check_time("+1w", "2026-04-05T12:00:00+02:00");
        // A day ago it was winter time, and twelve o'clock as well.
        check_time("-1d", "2026-03-28T12:00:00+01:00");
        check_time("2026-03-01", "2026-03-01T00:00:00+01:00");
        check_time("2026-03-01 10:30", "2026-03-01T10:30:00+01:00");
        check_time("2026-03-01T10:30Z", "2026-03-01T10:30:00Z");
        check_time("0", "1970-01-01T00:00:00Z");
        for text in ["", "-", "yesterday", "6h", "-6", "nan", "2026-13-01", "now-", "-1h-1h"] {
            assert!(read_time(text, &noon()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ranges_are_forwards_and_not_too_fine() {
        let range = |end, step| check(Range { start: 0.0, end, step });
        assert!(range(3600.0, 60.0).is_ok());
        assert!(range(0.0, 60.0).unwrap_err().contains("not before"));
        let error = range(86_400.0 * 7.0, 1.0).unwrap_err();
        assert!(error.contains("604800 steps") && error.contains("--step of 55s"), "{error}");
    }

    #[test]
    fn steps_are_round() {
        let steps = [10.0, 3600.0, 86_400.0, 3e8].map(usual_step);
        assert_eq!(format!("{steps:?}"), "[1.0, 15.0, 300.0, 1036800.0]");
        assert_eq!(parse_step("1m"), Ok(60.0));
        assert_eq!(parse_step("0.5"), Ok(0.5));
        for text in ["0", "-1m", "x", "inf"] {
            assert!(parse_step(text).is_err(), "{text}");
        }
    }

    fn noon() -> Zoned {
        "2026-03-29T12:00:00+02:00[Europe/Berlin]".parse().unwrap()
    }

    #[track_caller]
    fn check_time(text: &str, expected: &str) {
        let expected: Timestamp = expected.parse().unwrap();
        let seconds = expected.as_duration().as_secs_f64();
        assert_eq!(read_time(text, &noon()), Ok(seconds), "{text}");
    }
}

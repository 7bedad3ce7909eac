//! Times of day on an axis, in the zone of whoever looks.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, ToSpan as _, Zoned};

/// No axis has more ticks than this, whatever it covers.
const MAX_TICKS: usize = 100;

/// A zone in which times are told.
#[derive(Clone, Debug)]
pub struct Clock {
    zone: TimeZone,
}

/// A time worth a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Unix seconds.
    pub time: f64,
    /// The time of day, or the day where a step is that long.
    pub label: String,
    /// The day, where it is another one than at the tick before.
    pub day: Option<String>,
}

/// From one tick to the next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Seconds(i64),
    Hours(i64),
    Days(i64),
    Months(i64),
}

const STEPS: [Step; 29] = [
    Step::Seconds(1),
    Step::Seconds(2),
    Step::Seconds(5),
    Step::Seconds(10),
    Step::Seconds(15),
    Step::Seconds(30),
    Step::Seconds(60),
    Step::Seconds(120),
    Step::Seconds(300),
    Step::Seconds(600),
    Step::Seconds(900),
    Step::Seconds(1800),
    Step::Hours(1),
    Step::Hours(2),
    Step::Hours(3),
    Step::Hours(6),
    Step::Hours(12),
    Step::Days(1),
    Step::Days(2),
    Step::Days(7),
    Step::Days(14),
    Step::Months(1),
    Step::Months(2),
    Step::Months(3),
    Step::Months(6),
    Step::Months(12),
    Step::Months(24),
    Step::Months(60),
    Step::Months(120),
];

impl Clock {
    /// A clock of this zone.
    #[must_use]
    pub fn new(zone: TimeZone) -> Self {
        Self { zone }
    }

    /// A time, if it is one that calendars know.
    #[must_use]
    pub fn at(&self, seconds: f64) -> Option<Zoned> {
        let since = SignedDuration::try_from_secs_f64(seconds).ok()?;
        let time = Timestamp::from_duration(since).ok()?;
        Some(time.to_zoned(self.zone.clone()))
    }

    /// A time as programs read it, with its offset; a number where calendars know none.
    #[must_use]
    pub fn stamp(&self, seconds: f64) -> String {
        let format = if seconds.fract() == 0.0 {
            "%Y-%m-%dT%H:%M:%S%:z"
        } else {
            "%Y-%m-%dT%H:%M:%S%.3f%:z"
        };
        self.at(seconds)
            .map_or_else(|| seconds.to_string(), |time| time.strftime(format).to_string())
    }

    /// The zone's name, and how far it is from UTC between two times.
    #[must_use]
    pub fn name(&self, from: f64, to: f64) -> String {
        let offset = |seconds| self.at(seconds).map(|time| time.strftime("%:z").to_string());
        let offsets = match (offset(from), offset(to)) {
            (Some(first), Some(last)) if first != last => format!("UTC{first}, then UTC{last}"),
            (Some(offset), _) | (None, Some(offset)) => format!("UTC{offset}"),
            (None, None) => return String::new(),
        };
        match self.zone.iana_name() {
            Some("UTC" | "Etc/UTC") => "UTC".to_owned(),
            Some(name) => format!("{name} ({offsets})"),
            None => offsets,
        }
    }

    /// Round times between two, at most `limit` of them or hardly more.
    #[must_use]
    pub fn ticks(&self, from: f64, to: f64, limit: usize) -> Vec<Tick> {
        let room = (to - from) / limit.max(1) as f64;
        let step = STEPS.into_iter().find(|step| step.seconds() >= room);
        let step = step.unwrap_or(Step::Months(1200));
        let (Some(first), Some(last)) = (self.at(from), self.at(to)) else { return Vec::new() };
        let mut day = None;
        self.times(step, &first, &last)
            .into_iter()
            .map(|time| {
                let today = Some(time.strftime("%b %-d").to_string());
                let is_new = today != day && step.has_time_of_day();
                day.clone_from(&today);
                Tick {
                    time: time.timestamp().as_duration().as_secs_f64(),
                    label: time.strftime(step.format()).to_string(),
                    day: today.filter(|_| is_new),
                }
            })
            .collect()
    }

    fn times(&self, step: Step, first: &Zoned, last: &Zoned) -> Vec<Zoned> {
        let mut times: Vec<Zoned> = Vec::new();
        let Some(start) = step.floor(first.datetime()) else { return times };
        for count in 0.. {
            // Hours and days go by the calendar, so that they stay round where clocks are put
            // forward or back; less than an hour is the same everywhere.
            let time = match step {
                Step::Seconds(seconds) => self
                    .zoned(start)
                    .and_then(|start| start.checked_add((seconds * count).seconds()).ok()),
                _ => start.checked_add(step.span(count)).ok().and_then(|time| self.zoned(time)),
            };
            let Some(time) = time.filter(|time| time <= last && times.len() < MAX_TICKS) else {
                break;
            };
            // Where clocks are put forward, two round times can be the same one.
            if time >= *first && times.last() != Some(&time) {
                times.push(time);
            }
        }
        times
    }

    fn zoned(&self, time: DateTime) -> Option<Zoned> {
        self.zone.to_zoned(time).ok()
    }
}

impl Step {
    fn seconds(self) -> f64 {
        match self {
            Self::Seconds(seconds) => seconds as f64,
            Self::Hours(hours) => 3600.0 * hours as f64,
            Self::Days(days) => 86_400.0 * days as f64,
            Self::Months(months) => 30.4 * 86_400.0 * months as f64,
        }
    }

    fn span(self, count: i64) -> Span {
        match self {
            Self::Seconds(seconds) => (seconds * count).seconds(),
            Self::Hours(hours) => (hours * count).hours(),
            Self::Days(days) => (days * count).days(),
            Self::Months(months) => (months * count).months(),
        }
    }

    fn has_time_of_day(self) -> bool {
        matches!(self, Self::Seconds(_) | Self::Hours(_))
    }

    fn format(self) -> &'static str {
        match self {
            Self::Seconds(seconds) if seconds < 60 => "%H:%M:%S",
            Self::Seconds(_) | Self::Hours(_) => "%H:%M",
            Self::Days(_) => "%b %-d",
            Self::Months(months) if months < 12 => "%b %Y",
            Self::Months(_) => "%Y",
        }
    }

    /// The last round time before another one.
    fn floor(self, time: DateTime) -> Option<DateTime> {
        let day = time.start_of_day();
        match self {
            Self::Seconds(step) => {
                let hour = day.checked_add(i64::from(time.hour()).hours()).ok()?;
                let past = 60 * i64::from(time.minute()) + i64::from(time.second());
                hour.checked_add((past - past % step).seconds()).ok()
            }
            Self::Hours(step) => {
                let hour = i64::from(time.hour());
                day.checked_add((hour - hour % step).hours()).ok()
            }
            Self::Days(step) => {
                // Weeks begin on Mondays, and every other day stays the same whenever one looks.
                let monday = jiff::civil::date(1970, 1, 5);
                let past = i64::from(day.date().since(monday).ok()?.get_days());
                day.checked_sub(past.rem_euclid(step).days()).ok()
            }
            Self::Months(step) => {
                let months = 12 * i64::from(time.year()) + i64::from(time.month()) - 1;
                let month = day.date().first_of_month().to_datetime(jiff::civil::Time::midnight());
                month.checked_sub(months.rem_euclid(step).months()).ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_in_the_zone_of_the_clock() {
        check(
            "Asia/Kathmandu",
            ("2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z"),
            5,
            "15:45 (Nov 21) 16:00 16:15 16:30 16:45",
        );
        check(
            "UTC",
            ("2026-11-21T22:59:00Z", "2026-11-22T03:00:00Z"),
            6,
            "23:00 (Nov 21) 00:00 (Nov 22) 01:00 02:00 03:00",
        );
        check(
            "UTC",
            ("2026-11-21T00:00:00Z", "2026-11-21T00:00:09Z"),
            5,
            "00:00:00 (Nov 21) 00:00:02 00:00:04 00:00:06 00:00:08",
        );
    }

    #[test]
    fn ticks_stay_round_where_clocks_are_put_forward_and_back() {
        // At 02:00 it is 03:00, and in autumn 03:00 is 02:00 once more.
        check(
            "Europe/Berlin",
            ("2026-03-28T23:00:00Z", "2026-03-29T04:00:00Z"),
            6,
            "00:00 (Mar 29) 01:00 03:00 04:00 05:00 06:00",
        );
        check(
            "Europe/Berlin",
            ("2026-03-28T23:00:00Z", "2026-03-29T08:00:00Z"),
            5,
            "00:00 (Mar 29) 03:00 04:00 06:00 08:00 10:00",
        );
        check(
            "Europe/Berlin",
            ("2026-10-24T22:00:00Z", "2026-10-25T10:00:00Z"),
            6,
            "00:00 (Oct 25) 02:00 04:00 06:00 08:00 10:00",
        );
        check(
            "Europe/Berlin",
            ("2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z"),
            5,
            "02:00 (Oct 25) 02:30 02:00 02:30 03:00",
        );
    }

    #[test]
    fn long_stretches_have_days_months_and_years() {
        check(
            "UTC",
            ("2026-11-01T00:00:00Z", "2026-11-30T00:00:00Z"),
            5,
            "Nov 2 Nov 9 Nov 16 Nov 23 Nov 30",
        );
        check(
            "UTC",
            ("2026-01-15T00:00:00Z", "2026-07-15T00:00:00Z"),
            4,
            "Mar 2026 May 2026 Jul 2026",
        );
        check(
            "UTC",
            ("1990-01-15T00:00:00Z", "2026-07-15T00:00:00Z"),
            8,
            "1995 2000 2005 2010 2015 2020 2025",
        );
    }

    #[test]
    fn times_that_no_calendar_knows_have_no_ticks() {
        let clock = Clock::new(TimeZone::UTC);
        assert!(clock.ticks(0.0, 1e30, 5).is_empty());
        assert!(clock.ticks(f64::NAN, 1.0, 5).is_empty());
        assert_eq!(clock.stamp(1e30), "1000000000000000000000000000000");
    }

    #[test]
    fn the_name_tells_the_offset_and_its_change() {
        let clock = Clock::new(TimeZone::get("Europe/Berlin").unwrap());
        let (winter, summer) = (seconds("2026-03-28T23:00:00Z"), seconds("2026-03-29T04:00:00Z"));
        assert_eq!(clock.name(winter, winter), "Europe/Berlin (UTC+01:00)");
        assert_eq!(clock.name(winter, summer), "Europe/Berlin (UTC+01:00, then UTC+02:00)");
        assert_eq!(Clock::new(TimeZone::UTC).name(winter, summer), "UTC");
        assert_eq!(clock.stamp(winter + 0.5), "2026-03-29T00:00:00.500+01:00");
    }

    #[track_caller]
    fn check(zone: &str, range: (&str, &str), limit: usize, expected: &str) {
        let clock = Clock::new(TimeZone::get(zone).unwrap());
        let ticks = clock.ticks(seconds(range.0), seconds(range.1), limit);
        let told = ticks.into_iter().map(|tick| {
            let day = tick.day.map_or(String::new(), |day| format!(" ({day})"));
            format!("{}{day}", tick.label)
        });
        assert_eq!(told.collect::<Vec<_>>().join(" "), expected);
    }

    fn seconds(text: &str) -> f64 {
        text.parse::<Timestamp>().unwrap().as_duration().as_secs_f64()
    }
}

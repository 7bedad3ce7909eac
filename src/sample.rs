//! The wire's vocabulary: what one StatsD line says, before any rule is applied.

use smallvec::SmallVec;

/// The kind of a sample, as the letters after the first `|` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `c`
    Counter,
    /// `g`
    Gauge,
    /// `ms`; values are milliseconds on the wire and seconds everywhere else.
    Timer,
    /// `h`
    Histogram,
    /// `d`
    Distribution,
    /// `s`; the only kind whose value need not be a number.
    Set,
}

impl Kind {
    /// Reads the type field of a line; `None` for every unknown one.
    #[must_use]
    pub fn from_wire(field: &str) -> Option<Self> {
        Some(match field {
            "c" => Self::Counter,
            "g" => Self::Gauge,
            "ms" => Self::Timer,
            "h" => Self::Histogram,
            "d" => Self::Distribution,
            "s" => Self::Set,
            _ => return None,
        })
    }

    /// The type that mapping rules and self-metrics know this kind by.
    #[must_use]
    pub fn event_type(self) -> EventType {
        match self {
            Self::Counter => EventType::Counter,
            Self::Gauge => EventType::Gauge,
            Self::Timer | Self::Histogram | Self::Distribution => EventType::Observer,
            Self::Set => EventType::Set,
        }
    }
}

/// A kind as `match_metric_type` and the `type` label of self-metrics spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// `counter`
    Counter,
    /// `gauge`
    Gauge,
    /// `observer`: timers, histograms and distributions.
    Observer,
    /// `set`; the reference knows no such type.
    Set,
}

impl EventType {
    /// Every type, in the order of their discriminants.
    pub const ALL: [Self; 4] = [Self::Counter, Self::Gauge, Self::Observer, Self::Set];

    /// The word users write and read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Observer => "observer",
            Self::Set => "set",
        }
    }
}

/// What a sample says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A number; milliseconds are already seconds, counters are already divided by their rates.
    Number(f64),
    /// The value of a set, compared byte by byte.
    Member(&'a str),
}

/// One value of one line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample<'a> {
    /// What kind of value it is.
    pub kind: Kind,
    /// The value itself.
    pub value: Value<'a>,
    /// Whether a gauge's value is a change (`+3`, `-3`) and not a level.
    pub relative: bool,
    /// How many events it stands for: 1, or `int(1 / rate)` for an observer sent with a rate.
    pub times: u64,
}

/// A key and a value as a client sent them, neither escaped nor checked against the rules for labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    /// The key, not empty.
    pub key: &'a str,
    /// The value, not empty.
    pub value: &'a str,
}

/// The tags of one line, in the order sent; eight fit without an allocation.
pub type Tags<'a> = SmallVec<[Tag<'a>; 8]>;

//! One panel: what it asks and how it shows it, before it has a place.

/// Whole width of a dashboard in Grafana's grid.
pub const COLUMNS: u32 = 24;

/// A panel without an id and a place.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What tells it from the other panels of its dashboard; its id is made of it.
    pub key: String,
    /// What stands above it.
    pub title: String,
    /// What a person is told who asks.
    pub description: String,
    /// How it is drawn.
    pub view: View,
    /// Grafana's identifier of the unit.
    pub unit: String,
    /// The least and the greatest number of the axis, where they are fixed.
    pub range: (Option<f64>, Option<f64>),
    /// From which number on which colour holds, beside the colour of all below.
    pub thresholds: Thresholds,
    /// What it asks.
    pub queries: Vec<Query>,
    /// How large it is.
    pub size: Size,
}

/// How a panel is drawn.
#[derive(Clone, Debug, PartialEq)]
pub enum View {
    /// Lines over time.
    Lines,
    /// Lines over time that add up.
    Stack,
    /// One number.
    Stat,
    /// One number that is off at 0 and on at 1.
    Switch,
    /// A number on a dial.
    Gauge,
    /// Buckets over time.
    Heatmap,
    /// Words, in Markdown.
    Text(String),
}

/// Colours by value.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds {
    /// The colour below the first step.
    pub base: String,
    /// From which number on which colour holds, rising.
    pub steps: Vec<(f64, String)>,
}

impl Thresholds {
    /// A base colour and steps.
    #[must_use]
    pub fn new(base: &str, steps: &[(f64, &str)]) -> Self {
        let steps = steps.iter().map(|(from, colour)| (*from, (*colour).to_owned())).collect();
        Self { base: base.to_owned(), steps }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self::new("green", &[])
    }
}

/// A query and the name of what it gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The query.
    pub promql: String,
    /// The legend, with `{{label}}`; empty where there is one thing only.
    pub legend: String,
    /// Whether the answer is classic buckets for a heatmap.
    pub is_buckets: bool,
}

impl Query {
    /// A query whose answer is shown under a legend.
    #[must_use]
    pub fn new(promql: impl Into<String>, legend: impl Into<String>) -> Self {
        Self { promql: promql.into(), legend: legend.into(), is_buckets: false }
    }
}

/// How large a panel is, in Grafana's grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Of [`COLUMNS`].
    pub width: u32,
    /// In units of 30 pixels.
    pub height: u32,
    /// Whether it stands at the left edge.
    pub is_first: bool,
}

impl Size {
    /// Three graphs beside each other.
    pub const THIRD: Self = Self { width: 8, height: 8, is_first: false };
    /// Two graphs beside each other.
    pub const HALF: Self = Self { width: 12, height: 8, is_first: false };
    /// Four graphs beside each other.
    pub const QUARTER: Self = Self { width: 6, height: 8, is_first: false };
    /// One number.
    pub const STAT: Self = Self { width: 4, height: 4, is_first: false };

    /// The same, at the left edge.
    #[must_use]
    pub fn first(self) -> Self {
        Self { is_first: true, ..self }
    }
}

impl Panel {
    /// Lines over time, three panels beside each other.
    #[must_use]
    pub fn lines(key: impl Into<String>, title: impl Into<String>, queries: Vec<Query>) -> Self {
        Self {
            key: key.into(),
            title: title.into(),
            description: String::new(),
            view: View::Lines,
            unit: "short".to_owned(),
            range: (Some(0.0), None),
            thresholds: Thresholds::default(),
            queries,
            size: Size::THIRD,
        }
    }

    /// One number.
    #[must_use]
    pub fn stat(key: impl Into<String>, title: impl Into<String>, promql: String) -> Self {
        let queries = vec![Query::new(promql, "")];
        Self { view: View::Stat, size: Size::STAT, ..Self::lines(key, title, queries) }
    }

    /// The same in a unit.
    #[must_use]
    pub fn unit(self, unit: impl Into<String>) -> Self {
        Self { unit: unit.into(), ..self }
    }

    /// The same with a description.
    #[must_use]
    pub fn about(self, description: impl Into<String>) -> Self {
        Self { description: description.into(), ..self }
    }

    /// The same drawn otherwise.
    #[must_use]
    pub fn view(self, view: View) -> Self {
        Self { view, ..self }
    }

    /// The same in another size.
    #[must_use]
    pub fn size(self, size: Size) -> Self {
        Self { size, ..self }
    }

    /// The same with an axis that begins and ends elsewhere.
    #[must_use]
    pub fn range(self, least: Option<f64>, most: Option<f64>) -> Self {
        Self { range: (least, most), ..self }
    }

    /// The same with colours by value.
    #[must_use]
    pub fn thresholds(self, base: &str, steps: &[(f64, &str)]) -> Self {
        Self { thresholds: Thresholds::new(base, steps), ..self }
    }
}

/// Panels under one heading.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The heading.
    pub title: String,
    /// Whether a click opens it.
    pub is_collapsed: bool,
    /// What is below it.
    pub panels: Vec<Panel>,
}

//! Queries: one place that knows how each kind of family is asked.
//!
//! Rates come before sums, over `$__rate_interval`; every selector is limited to the jobs and
//! instances that were picked, and to the values of the dashboard's other variables.

use std::borrow::Cow;

use super::inventory::{Family, Kind};

/// What every selector of a dashboard begins with.
pub const TARGETS: &str = r#"job=~"$job", instance=~"$instance""#;
const RANGE: &str = "[$__rate_interval]";

/// Which buckets of histograms are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Buckets {
    /// Native ones of families that are known to have them, else classic ones.
    #[default]
    Auto,
    /// `_bucket` with `le`.
    Classic,
    /// Those that Prometheus scrapes by protobuf.
    Native,
    /// Whichever there are; for the time of a migration.
    Both,
}

/// What the queries of one dashboard have in common.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Labels that are variables, as Prometheus calls them.
    pub labels: Vec<String>,
    /// Which buckets of histograms are asked.
    pub buckets: Buckets,
}

/// A label as Prometheus calls it: it renames those that it sets itself.
#[must_use]
pub fn scraped(label: &str) -> Cow<'_, str> {
    match label {
        "job" | "instance" => Cow::Owned(format!("exported_{label}")),
        _ => Cow::Borrowed(label),
    }
}

impl Scope {
    /// Whether classic and whether native buckets of a family are asked.
    #[must_use]
    pub fn forms(&self, family: &Family) -> (bool, bool) {
        let is_native = matches!(family.kind, Kind::Histogram { native: true, .. });
        match self.buckets {
            Buckets::Auto => (!is_native, is_native),
            Buckets::Classic => (true, false),
            Buckets::Native => (false, true),
            Buckets::Both => (true, true),
        }
    }

    /// The matchers for a family, and more if there are any.
    #[must_use]
    pub fn filter(&self, family: &Family, more: &str) -> String {
        let mut filter = TARGETS.to_owned();
        for label in &family.labels {
            let label = scraped(&label.name);
            if self.labels.iter().any(|known| *known == label) {
                filter.extend([", ", &*label, "=~\"$", &*label, "\""]);
            }
        }
        if !more.is_empty() {
            filter.push_str(", ");
            filter.push_str(more);
        }
        filter
    }

    /// Series that a family has in every case, for lists of label values.
    #[must_use]
    pub fn any_series(&self, family: &Family) -> String {
        let name = &family.name;
        match (&family.kind, self.forms(family)) {
            (Kind::Histogram { .. }, (true, true)) => {
                format!("{{__name__=~\"{name}(_count)?\", {TARGETS}}}")
            }
            (Kind::Histogram { .. }, (true, false)) | (Kind::Summary { .. }, _) => {
                format!("{name}_count{{{TARGETS}}}")
            }
            _ => format!("{name}{{{TARGETS}}}"),
        }
    }

    /// How fast a counter rises, or how often a timer is used; `by` some labels.
    #[must_use]
    pub fn rate(&self, family: &Family, by: &[&str], more: &str) -> String {
        let filter = self.filter(family, more);
        let name = &family.name;
        match family.kind {
            Kind::Histogram { .. } => self.either(
                family,
                || sum(by, &format!("rate({name}_count{{{filter}}}{RANGE})")),
                || {
                    format!(
                        "histogram_count({})",
                        sum(by, &format!("rate({name}{{{filter}}}{RANGE})"))
                    )
                },
            ),
            Kind::Summary { .. } => sum(by, &format!("rate({name}_count{{{filter}}}{RANGE})")),
            _ => sum(by, &format!("rate({name}{{{filter}}}{RANGE})")),
        }
    }

    /// A quantile of a histogram over the rate interval.
    #[must_use]
    pub fn quantile(&self, quantile: &str, family: &Family, by: &[&str]) -> String {
        let call = |vector: String| format!("histogram_quantile({quantile}, {vector})");
        self.either(
            family,
            || call(self.bucket_rates(family, by)),
            || call(self.native_rates(family, by)),
        )
    }

    /// The mean of a timer's observations.
    #[must_use]
    pub fn mean(&self, family: &Family) -> String {
        let (name, filter) = (&family.name, self.filter(family, ""));
        let classic = || {
            let rate = |suffix| sum(&[], &format!("rate({name}_{suffix}{{{filter}}}{RANGE})"));
            format!("{} / {}", rate("sum"), rate("count"))
        };
        let native = || {
            let rates = self.native_rates(family, &[]);
            format!("histogram_sum({rates}) / histogram_count({rates})")
        };
        match family.kind {
            Kind::Histogram { .. } => self.either(family, classic, native),
            _ => classic(),
        }
    }

    /// The rates of classic buckets.
    #[must_use]
    pub fn bucket_rates(&self, family: &Family, by: &[&str]) -> String {
        let mut labels = vec!["le"];
        labels.extend(by);
        let filter = self.filter(family, "");
        sum(&labels, &format!("rate({}_bucket{{{filter}}}{RANGE})", family.name))
    }

    /// The rates of native buckets.
    #[must_use]
    pub fn native_rates(&self, family: &Family, by: &[&str]) -> String {
        let filter = self.filter(family, "");
        sum(by, &format!("rate({}{{{filter}}}{RANGE})", family.name))
    }

    fn either(
        &self,
        family: &Family,
        classic: impl Fn() -> String,
        native: impl Fn() -> String,
    ) -> String {
        match self.forms(family) {
            (true, true) => format!("({}) or ({})", classic(), native()),
            (_, false) => classic(),
            (false, true) => native(),
        }
    }
}

/// A sum by some labels, or over all of them.
#[must_use]
pub fn sum(by: &[&str], vector: &str) -> String {
    aggregate("sum", by, vector)
}

/// An aggregation by some labels, or over all of them.
#[must_use]
pub fn aggregate(operator: &str, by: &[&str], vector: &str) -> String {
    if by.is_empty() {
        format!("{operator}({vector})")
    } else {
        format!("{operator} by ({}) ({vector})", by.join(", "))
    }
}

/// A vector that is all zeros where there would be nothing, so that good news is not "no data".
///
/// `everything` has the labels of what is looked for, or none.
#[must_use]
pub fn or_zero(vector: &str, everything: &str) -> String {
    format!("({vector} or 0 * {everything})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grafana::inventory::Label;

    #[test]
    fn each_form_of_buckets_has_its_query() {
        for (buckets, expected) in [
            (Buckets::Classic, "histogram_quantile(0.9, sum by (le, job) (rate(x_bucket{F}R)))"),
            (Buckets::Auto, "histogram_quantile(0.9, sum by (job) (rate(x{F}R)))"),
            (Buckets::Native, "histogram_quantile(0.9, sum by (job) (rate(x{F}R)))"),
            (
                Buckets::Both,
                "(histogram_quantile(0.9, sum by (le, job) (rate(x_bucket{F}R)))) or \
                 (histogram_quantile(0.9, sum by (job) (rate(x{F}R))))",
            ),
        ] {
            let family = family(Kind::Histogram { bounds: vec![1.0], native: true }, &[]);
            let scope = Scope { buckets, ..Scope::default() };
            check(&scope.quantile("0.9", &family, &["job"]), expected);
        }
    }

    #[test]
    fn variables_filter_the_families_that_have_them() {
        let scope = Scope {
            labels: vec!["exported_job".to_owned(), "region".to_owned()],
            ..Scope::default()
        };
        let family = family(Kind::Counter, &["job", "other"]);
        check(
            &scope.rate(&family, &["a"], "b=\"c\""),
            "sum by (a) (rate(x{F, exported_job=~\"$exported_job\", b=\"c\"}R))",
        );
    }

    #[track_caller]
    fn check(query: &str, expected: &str) {
        assert_eq!(query.replace(TARGETS, "F").replace(RANGE, "R"), expected);
    }

    fn family(kind: Kind, labels: &[&str]) -> Family {
        let label =
            |name: &&str| Label { name: (*name).to_owned(), values: None, examples: vec![] };
        Family {
            name: "x".to_owned(),
            kind,
            help: String::new(),
            unit: None,
            rule: None,
            labels: labels.iter().map(label).collect(),
            series: None,
        }
    }
}

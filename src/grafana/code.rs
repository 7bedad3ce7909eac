//! Dashboards as code: a YAML file that picks, orders, renames and adds to what is generated.
//!
//! `docs/dashboards.md` tells its keys.

use std::io;
use std::path::{Path, PathBuf};

use serde_saphyr::Location;
use thiserror::Error;

use super::dashboard::{Dashboard, Options, build};
use super::inventory::Inventory;

mod file;
mod fill;
mod plan;

use plan::Planner;

/// A file that cannot be used.
#[derive(Debug, Error)]
pub enum CodeError {
    /// It cannot be read.
    #[error("cannot read dashboards file {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something in it is wrong.
    #[error("{file}:{line}:{column}: {problem}")]
    Invalid {
        /// What the file is called.
        file: String,
        /// The line, from 1; 0 where it is not known.
        line: u64,
        /// The column, from 1.
        column: u64,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// What a file makes of an inventory.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// Its dashboards, in its order.
    pub dashboards: Vec<Dashboard>,
    /// What it asks for that is not there, one line each, with the place.
    pub warnings: Vec<String>,
}

/// What is wrong with a file, before it is known how the file is called.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    line: u64,
    column: u64,
    problem: String,
}

impl Fault {
    fn at(place: Location, problem: impl Into<String>) -> Self {
        Self { line: place.line(), column: place.column(), problem: problem.into() }
    }

    fn in_file(self, file: &Path) -> CodeError {
        CodeError::Invalid {
            file: file.display().to_string(),
            line: self.line,
            column: self.column,
            problem: self.problem,
        }
    }
}

/// A dashboards file that has been read and checked.
#[derive(Debug)]
pub struct Code {
    path: PathBuf,
    file: file::RawFile,
}

impl Code {
    /// Reads a file.
    ///
    /// # Errors
    /// See [`CodeError`].
    pub fn load(path: &Path) -> Result<Self, CodeError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| CodeError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Reads the text of a file; `path` is what messages call it.
    ///
    /// # Errors
    /// [`CodeError::Invalid`] names the first thing that is wrong, with line and column.
    pub fn parse(text: &str, path: &Path) -> Result<Self, CodeError> {
        let file = file::read(text).map_err(|fault| fault.in_file(path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// The dashboards for what a server exposes. What is not there is left out with a warning:
    /// a family comes with its first sample.
    ///
    /// # Errors
    /// When a panel makes no sense, whatever the server exposes.
    pub fn dashboards(&self, inventory: &Inventory, options: &Options) -> Result<Made, CodeError> {
        let (mut dashboards, mut warnings) = (Vec::new(), Vec::new());
        for raw in &self.file.dashboards {
            let mut options = options.clone();
            options.name.clone_from(&raw.title);
            options.folder = raw.folder.clone().or(options.folder);
            options.tags.extend(raw.tags.iter().cloned());
            let mut planner = Planner::new(raw, inventory, &options);
            let plan = planner.plan().map_err(|fault| fault.in_file(&self.path))?;
            dashboards.push(build(plan, &options));
            let file = self.path.display();
            warnings.extend(
                planner.warnings.into_iter().map(|fault| {
                    format!("{file}:{}:{}: {}", fault.line, fault.column, fault.problem)
                }),
            );
        }
        Ok(Made { dashboards, warnings })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::compat::Compat;
    use crate::map::Rules;

    const MAPPING: &str = "mappings:\n\
        - {match: a, name: shop_orders_total, labels: {status: paid, region: eu}}\n\
        - {match: b, name: shop_orders_total, labels: {status: failed, region: us}}\n\
        - {match: c, name: shop_checkout_seconds, observer_type: histogram}\n\
        - {match: d, name: shop_queue_mail}\n\
        - {match: e, name: shop_queue_bills}\n";

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>(), rest in "[a-z:{} \\n\\[\\]<>*-]{0,60}") {
            for text in [text, file(&rest)] {
                if let Ok(code) = code(&text) {
                    code.dashboards(&inventory(), &Options::default()).ok();
                }
            }
        }
    }

    #[test]
    fn panels_are_picked_renamed_and_sized() {
        check(
            "rows:\n- title: R\n  panels:\n  - {family: shop_orders_total, title: Orders, width: 24}\n\
             \x20 - {family: shop_checkout_seconds, show: [heatmap]}\n",
            &["# R", "Orders 24x8", "Shop checkout: spread 8x8"],
        );
        check(
            "rename: {shop_queue_mail: Mails}\nhide: ['*_bills']\nrows:\n- title: R\n  panels:\n\
             \x20 - family: shop_queue_*\n",
            &["# R", "Mails 8x8"],
        );
    }

    #[test]
    fn loops_run_over_values_labels_and_families() {
        check(
            "rows:\n- title: R <<r>>\n  for: {as: r, in: [eu, us]}\n  panels:\n\
             \x20 - {title: 'T <<r>>', promql: 'sum(x{$filter, r=\"<<r>>\"})'}\n",
            &["# R eu", "T eu 8x8", "# R us", "T us 8x8"],
        );
        check(
            "rows:\n- title: R\n  panels:\n\
             \x20 - {for: {as: s, label: status, of: shop_orders_total}, title: <<s>>, promql: vector(1)}\n\
             \x20 - {for: {as: f, families: shop_queue_*}, title: <<f>>, promql: 'max(<<f>>)'}\n",
            &["# R", "failed 8x8", "paid 8x8", "shop_queue_bills 8x8", "shop_queue_mail 8x8"],
        );
    }

    #[test]
    fn what_is_generated_can_be_inserted() {
        let titles = titles("rows:\n- insert: services\n- insert: families\n- insert: exporter\n");
        assert_eq!(titles[0], "# Shop orders: rate, errors");
        assert!(titles.contains(&"# Exporter".to_owned()), "{titles:?}");
    }

    #[test]
    fn what_is_not_there_is_said_and_left_out() {
        let text = file("rows:\n- title: R\n  panels: [{family: shop_order_total}]\n");
        let made = code(&text).unwrap().dashboards(&inventory(), &Options::default()).unwrap();
        assert_eq!(
            made.warnings,
            [
                "d.yml:5:23: no family is called `shop_order_total`; did you mean `shop_orders_total`?"
            ]
        );
    }

    #[test]
    fn errors_name_the_place_and_the_way_out() {
        for (rest, expected) in [
            ("rows: [{titel: R}]\n", "3:11: unknown key `titel`; did you mean `title`?"),
            (
                "rows: [{title: R, panels: [{title: T}]}]\n",
                "3:30: a panel needs `family`, `promql`, `queries` or `text`",
            ),
            ("rows: [{title: R, panels: [{promql: x}]}]\n", "3:30: the panel needs a `title`"),
            (
                "rows: [{title: R, panels: [{title: T, promql: x, view: pie}]}]\n",
                "3:58: unknown word `pie`; known are lines, stack, stat, switch, gauge, heatmap",
            ),
            (
                "rows: [{insert: everything}]\n",
                "3:19: unknown word `everything`; known are overview, services, families, workers, servers, exporter",
            ),
            (
                "rows: [{title: R, for: {as: x}}]\n",
                "3:26: a loop needs one of `in`, `label` with `of`, or `families`",
            ),
        ] {
            let text = file(rest);
            let made =
                code(&text).and_then(|code| code.dashboards(&inventory(), &Options::default()));
            assert_eq!(made.unwrap_err().to_string(), format!("d.yml:{expected}"), "{text}");
        }
    }

    /// A file with one dashboard, whose other keys are given.
    fn file(rest: &str) -> String {
        let rest: String = rest.lines().flat_map(|line| ["  ", line, "\n"]).collect();
        format!("dashboards:\n- title: Shop\n{rest}")
    }

    fn code(text: &str) -> Result<Code, CodeError> {
        Code::parse(text, "d.yml".as_ref())
    }

    fn inventory() -> Inventory {
        let loaded = Rules::parse(MAPPING.as_bytes(), "m.yml".as_ref(), Compat::Extended).unwrap();
        Inventory::of_rules(&loaded.rules).inventory
    }

    /// The headings of rows, and titles and sizes of panels.
    fn titles(rest: &str) -> Vec<String> {
        let made =
            code(&file(rest)).unwrap().dashboards(&inventory(), &Options::default()).unwrap();
        assert_eq!(made.warnings, Vec::<String>::new());
        let value = made.dashboards[0].to_value().unwrap();
        let text = |panel: &serde_json::Value| {
            let title = panel["title"].as_str().unwrap().to_owned();
            let (w, h) = (&panel["gridPos"]["w"], &panel["gridPos"]["h"]);
            if panel["type"] == "row" { format!("# {title}") } else { format!("{title} {w}x{h}") }
        };
        value["panels"].as_array().unwrap().iter().map(text).collect()
    }

    #[track_caller]
    fn check(rest: &str, expected: &[&str]) {
        assert_eq!(titles(rest), expected, "{rest}");
    }
}

//! `tallyd check --against`: two servers that get the same lines, page beside page.
//!
//! The lines reach one of the two a little later, through the other's relay, and both go on
//! changing while they are looked at. So the old page is fetched before and after the new one,
//! each time as far apart as the one may lag behind the other, and a value of the new page is
//! called different only where the old one never passed through it. This is done three times, and
//! counters are compared by what they grew between the first time and the last.

use std::time::Duration;

use reqwest::Url;
use serde::Serialize;

use super::page::Page;
use crate::grafana::cli::CommandError;
use crate::grafana::inventory::remote;

mod compare;
mod text;

use compare::{Difference, compare};

/// How often the pages are looked at; gauges have to differ each time.
const ROUNDS: u32 = 3;

/// What is compared, and how.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The address of the server that is used today.
    pub(super) old: String,
    /// The address of the one that shall take its place.
    pub(super) new: String,
    /// Over which time increases are compared.
    pub(super) window: Duration,
    /// How much later one may know what the other knows.
    pub(super) lag: Duration,
    /// Whether counters have to have the same values, not only the same increases.
    pub(super) compares_values: bool,
    /// Whether the servers' own metrics are compared too.
    pub(super) compares_own: bool,
}

/// One look at both pages.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    /// The old one, then the new one, then the old one again.
    before: Page,
    new: Page,
    after: Page,
}

/// What two servers have in common, and what not.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Against {
    /// The server that is used today.
    old: String,
    /// The one that shall take its place.
    new: String,
    /// Over which time increases were compared.
    seconds: f64,
    /// Families that both have.
    families: usize,
    /// Samples that both have.
    samples: usize,
    /// Counters that differ by what was there before, and grew alike since.
    offset: usize,
    /// What differs.
    differences: Vec<Difference>,
}

impl Against {
    /// Looks at both servers until it can tell.
    ///
    /// # Errors
    /// When one of the pages cannot be had.
    pub(super) async fn look(settings: &Settings) -> Result<Self, CommandError> {
        let (old, new) = (page_url(&settings.old)?, page_url(&settings.new)?);
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            if round > 0 {
                tokio::time::sleep(settings.window / (ROUNDS - 1)).await;
            }
            let before = fetch(&old, settings).await?;
            tokio::time::sleep(settings.lag).await;
            let new = fetch(&new, settings).await?;
            tokio::time::sleep(settings.lag).await;
            let after = fetch(&old, settings).await?;
            rounds.push(Round { before, new, after });
        }
        let compared = compare(&rounds, settings.compares_values);
        let (old, new) = (settings.old.clone(), settings.new.clone());
        Ok(Self { old, new, seconds: settings.window.as_secs_f64(), ..compared })
    }

    /// Whether nothing differs; what nobody sent during the look counts only where `strict`.
    pub(super) fn is_same(&self, strict: bool) -> bool {
        self.differences.iter().all(|difference| difference.is_quiet && !strict)
    }
}

/// The address of a page: a path of one's own is kept.
fn page_url(address: &str) -> Result<Url, CommandError> {
    let what = || format!("look at {address}");
    let url = Url::parse(address).map_err(CommandError::failed(what()))?;
    if url.path() == "/" {
        url.join("metrics").map_err(CommandError::failed(what()))
    } else {
        Ok(url)
    }
}

async fn fetch(url: &Url, settings: &Settings) -> Result<Page, CommandError> {
    const OWN: [&str; 6] =
        ["statsd_exporter_", "statsd_metric_mapper_", "tallyd_", "process_", "go_", "promhttp_"];
    let what = format!("look at {url}");
    let (_, text) = remote::get(url.clone()).await.map_err(CommandError::failed(what))?;
    let mut page = Page::read(&text);
    if !settings.compares_own {
        page.families.retain(|name, _| !OWN.iter().any(|own| name.starts_with(own)));
    }
    Ok(page)
}

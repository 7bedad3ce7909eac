//! The bench client: loads a StatsD server, accounts for every metric, and says what it cost.
//!
//! ```text
//! workload, files ─► payload ─► sender: threads, paced ──► the server ──► scrape ─► page
//!                                  │                          ▲ process        │
//!                                  └──► run ◄── watch ────────┴────────────────┘
//!                                        │
//!                                        └─► accounting ─► outcome ─► table, JSON
//! ```
//!
//! It works against any StatsD server with a page for Prometheus. What it asks of the page is
//! asked for by names that `statsd_exporter` has; a server without them is accounted for by the
//! series alone.

pub mod error;
pub mod units;
pub mod latency;
pub mod outcome;
pub mod target;
mod files;
pub mod payload;
pub mod workload;
pub mod plan;
mod pacing;
mod client;
mod sender;
pub mod scrape;
pub mod page;
pub mod process;
pub mod launch;
mod accounting;
mod gauges;
mod watch;
pub mod run;
pub mod sink;
pub mod find_max;
pub mod compare;
mod table;
pub mod report;
pub mod cli;

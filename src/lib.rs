//! tallyd takes StatsD and DogStatsD datagrams, aggregates them, and lets Prometheus scrape the
//! result.
//!
//! ```text
//! clients ── UDP, TCP, Unix ──► net: one lane per thread, nothing shared between lanes
//!                                │  datagrams
//!                                ▼
//!                              ingest: lines ─► line cache ──hit──► cells
//!                                │ miss                              ▲
//!                                ▼                                   │
//!                              parse ─► map ─► aggregate (register) ─┘
//!                                                │ registry: families, series
//!                                                ▼
//! Prometheus ── GET /metrics ──► web ─► expose: walks a view, adds the lanes' cells up
//! ```
//!
//! The modules stand below in the order of that way; a module names only modules above it.

pub mod compat;
pub mod units;
pub mod command;
pub mod progress;
pub mod tls;
pub mod column;
pub mod sample;
pub mod parse;
pub mod telemetry;
pub mod map;
pub mod aggregate;
pub mod ingest;
pub mod net;
pub mod workers;
pub mod multiproc;
pub mod saturation;
pub mod state;
pub mod expose;
pub mod chart;
pub mod grafana;
pub mod rules;
pub mod status;
pub mod config;
pub mod explain;
pub mod check;
pub mod web;
pub mod run;
pub mod bench;

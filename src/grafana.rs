//! Dashboards that match what really flows, and the Grafana they are kept in.
//!
//! An [`Inventory`] says what a server exposes; everything else is made of it.
//!
//! ```text
//! registry, mapping, page ─► Inventory ─ red, group ─► rows of panels ─ layout, render ─► Dashboard
//! ```

pub mod client;
pub mod inventory;
pub mod names;
pub mod unit;
pub mod red;
pub mod promql;
pub mod panel;
pub mod panels;
mod model;
mod render;
mod layout;
mod group;
pub mod dashboard;
pub mod format;
pub mod code;
pub mod sync;
pub mod cli;
pub mod prometheus;

pub use client::Client;
pub use dashboard::{Dashboard, Options, dashboards};
pub use inventory::Inventory;

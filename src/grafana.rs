//! Dashboards that match what really flows, and the Grafana they are kept in.
//!
//! An [`Inventory`] says what a server exposes; everything else is made of it.

pub mod client;
pub mod inventory;
pub mod cli;
pub mod prometheus;

pub use client::Client;
pub use inventory::Inventory;

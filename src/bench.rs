//! The bench client: loads a StatsD server, accounts for every metric, and says what it cost.

pub mod latency;
pub mod outcome;

//! What is before the site, and what holds against those who mean harm, as a client sees it.

mod hardening;
mod https;
mod listeners;
#[path = "../support/server.rs"]
mod server;
mod web_config;

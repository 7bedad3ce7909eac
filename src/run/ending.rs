//! The end: what makes the server leave, and the scrape that it waits for before it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use super::reload::Reloader;
use super::site::Site;
use super::systemd;

/// How long a signal may take from its arrival until we hear of it.
const SETTLE: Duration = Duration::from_millis(5);

/// Nobody waits for a last scrape.
const NOT_AWAITED: u64 = u64::MAX;

/// Whether a scrape has shown everything that was taken in.
///
/// Lines are what is compared: a lane counts one after its values are in the cells, so a page that
/// was begun when so many had been counted shows them all.
#[derive(Debug)]
pub struct LastScrape {
    /// Lines counted when the last page that was sent whole was begun.
    shown_lines: AtomicU64,
    sent: Notify,
}

impl Default for LastScrape {
    fn default() -> Self {
        Self { shown_lines: AtomicU64::new(NOT_AWAITED), sent: Notify::new() }
    }
}

impl LastScrape {
    /// Pages count that are begun from here on.
    fn await_one(&self) {
        self.shown_lines.store(0, Ordering::Relaxed);
    }

    /// Whether anybody waits; else nobody need count lines.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.shown_lines.load(Ordering::Relaxed) != NOT_AWAITED
    }

    /// A page has been sent that was begun when so many lines had been counted.
    pub fn sent(&self, lines: u64) {
        // One page more than the lines, so that having shown none differs from having shown nothing.
        self.shown_lines.fetch_max(lines.saturating_add(1), Ordering::Relaxed);
        self.sent.notify_waiters();
    }

    /// Waits until everything that `lines` counts has been shown.
    async fn wait(&self, lines: impl Fn() -> u64) {
        loop {
            let sent = self.sent.notified();
            if self.shown_lines.load(Ordering::Relaxed) > lines() {
                return;
            }
            sent.await;
        }
    }
}

/// Why the server leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// It is to end.
    End,
    /// It is to make room for a successor.
    HandOver,
}

/// Everything that is asked of the running server from outside.
#[derive(Debug)]
pub(super) struct Wishes {
    end: EndWishes,
    hangup: Signal,
    restart: Signal,
}

/// What ends the server.
#[derive(Debug)]
struct EndWishes {
    terminate: Signal,
    interrupt: Signal,
    quit: Arc<Notify>,
}

impl Wishes {
    /// Listens from here on; `quit` is notified by a client of the web server.
    ///
    /// # Errors
    /// When the system does not let us hear signals.
    pub(super) fn new(quit: &Arc<Notify>) -> std::io::Result<Self> {
        let end = EndWishes {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: Arc::clone(quit),
        };
        let hangup = signal(SignalKind::hangup())?;
        let restart = signal(SignalKind::user_defined2())?;
        Ok(Self { end, hangup, restart })
    }

    /// Waits until the server is to leave, and reloads when asked to.
    pub(super) async fn wait(&mut self, reloader: &Arc<Reloader>) -> Leave {
        loop {
            tokio::select! {
                () = self.end.wait() => return Leave::End,
                _ = self.restart.recv() => return Leave::HandOver,
                _ = self.hangup.recv() => {
                    let reloader = Arc::clone(reloader);
                    systemd::reloading();
                    let reload = tokio::task::spawn_blocking(move || reloader.reload().is_ok());
                    // What is wrong has been logged; nobody waits for an answer to a signal.
                    reload.await.unwrap_or_default();
                    systemd::ready();
                }
            }
        }
    }

    /// Whether a signal that has just come is one to end the server.
    pub(super) async fn is_to_end(&mut self) -> bool {
        timeout(SETTLE, self.end.wait()).await.is_ok()
    }
}

impl EndWishes {
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => info!(signal = "terminated", "Received os signal, exiting"),
            _ = self.interrupt.recv() => info!(signal = "interrupt", "Received os signal, exiting"),
            () = self.quit.notified() => info!("Received lifecycle api quit, exiting"),
        }
    }
}

/// The wait for a last scrape.
pub(super) struct Farewell<'a> {
    site: &'a Site,
    wishes: &'a mut Wishes,
    max_wait: Duration,
    deadline: Instant,
    is_hurried: bool,
}

impl<'a> Farewell<'a> {
    /// A wait that may last `max_wait` in all; for nothing if that is zero.
    pub(super) fn new(site: &'a Site, wishes: &'a mut Wishes, max_wait: Duration) -> Self {
        if !max_wait.is_zero() {
            site.last_scrape().await_one();
        }
        let deadline = Instant::now() + max_wait;
        Self { site, wishes, max_wait, deadline, is_hurried: false }
    }

    /// Waits, while lines still come in, until a page shows all of them. Where they never pause,
    /// half of the time is left for the page that comes after the last one.
    pub(super) async fn while_receiving(&mut self) {
        self.wait_until(self.deadline.checked_sub(self.max_wait / 2)).await;
    }

    /// Waits, when nothing comes in any more, until a page has shown everything.
    pub(super) async fn after_receiving(mut self) {
        let is_shown = self.wait_until(Some(self.deadline)).await;
        if !is_shown && !self.is_hurried && !self.max_wait.is_zero() {
            warn!(waited = ?self.max_wait, "Nobody has scraped what came in at the end.");
        }
    }

    async fn wait_until(&mut self, end: Option<Instant>) -> bool {
        if self.max_wait.is_zero() || self.is_hurried {
            return false;
        }
        let shown = self.site.last_scrape().wait(|| self.site.lines_taken_in());
        tokio::select! {
            () = shown => true,
            () = sleep_until(end.unwrap_or(self.deadline)) => false,
            () = self.wishes.end.wait() => {
                self.is_hurried = true;
                false
            }
        }
    }
}

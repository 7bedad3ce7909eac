//! How much more two lanes do than one.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use tallyd::ingest::Ingest;

use crate::Extent;
use crate::stage::{self, AMPLE_CACHE_BYTES, Stage};
use crate::traffic::{self, LINES_PER_DATAGRAM};

/// Takes turns between one lane and two and compares the best round of each. Both lanes have the same series, so whatever
/// they share is shared here too.
pub(crate) fn run(extent: Extent) -> Result<()> {
    let (rounds, round) = match extent {
        Extent::Full => (5, Duration::from_secs(1)),
        Extent::Glance => (1, Duration::from_millis(5)),
    };
    let hot_counter = vec!["shop.requests:1|c|#env:prod,region:eu-west-1".to_owned(); 1_000];
    compare("1,000 series", &traffic::mixed(1_000), rounds, round)?;
    compare("one hot counter", &hot_counter, rounds, round)
}

/// Prints the best of so many rounds with one lane and with two.
fn compare(name: &str, traffic: &[String], rounds: usize, round: Duration) -> Result<()> {
    let datagrams = traffic::datagrams(traffic, LINES_PER_DATAGRAM);
    let stage = Stage::new(stage::HISTOGRAMS)?;
    let mut lanes = [stage.lane(AMPLE_CACHE_BYTES), stage.lane(AMPLE_CACHE_BYTES)];
    for lane in &mut lanes {
        stage::feed(lane, &datagrams);
    }
    let (mut one, mut two) = (0.0, 0.0);
    for _ in 0..rounds {
        let [first, _] = &mut lanes;
        one = f64::max(one, lines_per_second(std::slice::from_mut(first), &datagrams, round)?);
        two = f64::max(two, lines_per_second(&mut lanes, &datagrams, round)?);
    }
    let (ratio, one, two) = (two / one, one / 1e6, two / 1e6);
    println!(
        "lanes, {name}: one lane {one:.2} M lines/s, two lanes {two:.2} M lines/s, ratio {ratio:.2}"
    );
    Ok(())
}

/// What lanes on threads of their own do together.
fn lines_per_second(crew: &mut [Ingest], datagrams: &[Vec<u8>], time: Duration) -> Result<f64> {
    let (start, is_over) = (Barrier::new(crew.len() + 1), AtomicBool::new(false));
    let feed = |lane: &mut Ingest| {
        start.wait();
        let (began, mut rounds) = (Instant::now(), 0);
        while !is_over.load(Ordering::Relaxed) {
            stage::feed(lane, datagrams);
            rounds += 1;
        }
        f64::from(rounds) / began.elapsed().as_secs_f64()
    };
    let rounds_per_second = thread::scope(|scope| {
        let feed = &feed;
        let running: Vec<_> = crew.iter_mut().map(|lane| scope.spawn(move || feed(lane))).collect();
        start.wait();
        thread::sleep(time);
        is_over.store(true, Ordering::Relaxed);
        running.into_iter().map(thread::ScopedJoinHandle::join).sum::<thread::Result<f64>>()
    });
    let round: usize =
        datagrams.iter().map(|datagram| datagram.split(|byte| *byte == b'\n').count()).sum();
    Ok(rounds_per_second.map_err(|_| anyhow!("a lane did not end well"))? * round as f64)
}

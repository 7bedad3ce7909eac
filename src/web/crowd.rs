//! The connections that there are, and which of them has to go when there are too many.
//!
//! Nobody can be kept out by others who hold connections open: a new one takes the place of the one
//! that has been without a request for the longest time, or else of one whose answer has taken
//! unusually long, which is what a client does that reads slowly on purpose.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// How long to wait until it is asked again who may go.
const PAUSE: Duration = Duration::from_millis(100);

/// All connections, and all requests on them.
#[derive(Debug)]
pub(super) struct Crowd {
    /// How long an answer may take before it may be cut off for the sake of others.
    patience: Duration,
    connections: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    next: u64,
    taken: HashMap<u64, Arc<Activity>, foldhash::fast::RandomState>,
}

/// What a connection does.
#[derive(Debug)]
struct Activity {
    state: Mutex<State>,
    leave: Notify,
}

#[derive(Debug)]
struct State {
    /// How many requests are being answered.
    requests: usize,
    /// Since when there are any, or none.
    since: Instant,
    is_leaving: bool,
}

/// What there is no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Connection,
    Request,
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    number: u64,
    activity: Arc<Activity>,
    _slot: OwnedSemaphorePermit,
}

/// A request that is being answered, until this is dropped.
#[derive(Debug)]
pub(super) struct Busy {
    _counted: Counted,
    _slot: Option<OwnedSemaphorePermit>,
}

/// One of a connection's requests.
#[derive(Debug)]
struct Counted(Arc<Activity>);

impl Crowd {
    /// Room for so many connections, and as many requests on all of them together.
    ///
    /// An answer that takes longer than `patience` may be cut off for the sake of others.
    pub(super) fn new(limit: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            patience,
            connections: Arc::new(Semaphore::new(limit)),
            requests: Arc::new(Semaphore::new(limit)),
            places: Mutex::default(),
        })
    }

    /// Waits for a place; one that is due to go makes room.
    pub(super) async fn enter(self: &Arc<Self>) -> Option<Place> {
        let slot = self.slot(Need::Connection).await?;
        let state = State { requests: 0, since: Instant::now(), is_leaving: false };
        let activity = Arc::new(Activity { state: Mutex::new(state), leave: Notify::new() });
        let mut places = self.places.lock();
        let number = places.next;
        places.next += 1;
        places.taken.insert(number, Arc::clone(&activity));
        Some(Place { crowd: Arc::clone(self), number, activity, _slot: slot })
    }

    /// Waits until all have left.
    pub(super) async fn emptied(&self, limit: u32) {
        drop(self.connections.acquire_many(limit).await);
    }

    async fn slot(&self, need: Need) -> Option<OwnedSemaphorePermit> {
        let slots = match need {
            Need::Connection => &self.connections,
            Need::Request => &self.requests,
        };
        loop {
            if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
                return Some(slot);
            }
            self.make_room(need);
            if let Ok(slot) = timeout(PAUSE, Arc::clone(slots).acquire_owned()).await {
                return slot.ok();
            }
        }
    }

    /// Tells the connection to leave that can best be spared; one without a request has none to
    /// give back.
    fn make_room(&self, need: Need) {
        let places = self.places.lock();
        let now = Instant::now();
        let spared = places.taken.values().filter_map(|activity| {
            let state = activity.state.lock();
            let is_idle = state.requests == 0;
            let is_stalled = !is_idle && now.duration_since(state.since) >= self.patience;
            let is_due = is_stalled || (is_idle && need == Need::Connection);
            // Those without a request go first.
            (is_due && !state.is_leaving).then_some((!is_idle, state.since, activity))
        });
        let oldest = spared.min_by_key(|&(is_busy, since, _)| (is_busy, since));
        if let Some((_, _, activity)) = oldest {
            activity.state.lock().is_leaving = true;
            activity.leave.notify_one();
        }
    }
}

impl Place {
    /// Waits until this connection has to go to make room for another one.
    pub(super) async fn must_leave(&self) {
        self.activity.leave.notified().await;
    }

    /// How long no request has been answered; zero while one is.
    pub(super) fn idle_time(&self) -> Duration {
        let state = self.activity.state.lock();
        if state.requests == 0 { state.since.elapsed() } else { Duration::ZERO }
    }

    /// A request has come; waits until it may be answered.
    pub(super) async fn begin(&self) -> Busy {
        let activity = Arc::clone(&self.activity);
        {
            let mut state = activity.state.lock();
            if state.requests == 0 {
                state.since = Instant::now();
            }
            state.requests += 1;
        }
        // From here on, for the request may be given up while it waits.
        let counted = Counted(activity);
        Busy { _counted: counted, _slot: self.crowd.slot(Need::Request).await }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.places.lock().taken.remove(&self.number);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.requests = state.requests.saturating_sub(1);
        if state.requests == 0 {
            state.since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn the_one_that_has_been_idle_the_longest_makes_room() {
        let crowd = Crowd::new(3, PATIENCE);
        let busy = crowd.enter().await.unwrap();
        let _answer = busy.begin().await;
        let oldest = crowd.enter().await.unwrap();
        let younger = crowd.enter().await.unwrap();
        check(&crowd, oldest, &[&busy, &younger]).await;
    }

    #[tokio::test]
    async fn an_answer_that_takes_too_long_makes_room_when_nobody_is_idle() {
        let crowd = Crowd::new(2, PATIENCE);
        let (stalled, other) = (crowd.enter().await.unwrap(), crowd.enter().await.unwrap());
        let _answer = stalled.begin().await;
        let _other_answer = other.begin().await;
        let started = Instant::now();
        check(&crowd, stalled, &[&other]).await;
        assert!(started.elapsed() >= PATIENCE / 2);
    }

    #[tokio::test]
    async fn a_request_that_finds_no_room_has_a_stalled_one_cut_off() {
        let crowd = Crowd::new(2, PATIENCE);
        let (fresh, stalled) = (crowd.enter().await.unwrap(), crowd.enter().await.unwrap());
        let answers = (stalled.begin().await, stalled.begin().await);
        let cut_off = async {
            stalled.must_leave().await;
            drop(answers);
        };
        let started = Instant::now();
        let ((), _busy) = tokio::join!(cut_off, fresh.begin());
        assert!(started.elapsed() >= PATIENCE / 2 && fresh.idle_time() == Duration::ZERO);
    }

    /// Lets one more in, and checks that it is `leaving` that goes for it.
    async fn check(crowd: &Arc<Crowd>, leaving: Place, staying: &[&Place]) {
        let leave = async {
            leaving.must_leave().await;
            drop(leaving);
        };
        let (entered, ()) = tokio::join!(crowd.enter(), leave);
        assert!(entered.is_some());
        for place in staying {
            assert!(timeout(Duration::from_millis(1), place.must_leave()).await.is_err());
        }
    }
}

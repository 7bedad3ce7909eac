//! What other threads ask of the lanes, and how the acceptor gives connections away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::ingest::Order;
use crate::net::connections::StreamLimits;
use crate::net::listener::Stream;

/// The way to the lanes for any other thread.
#[derive(Clone, Debug)]
pub struct Orders {
    lanes: Arc<[UnboundedSender<Command>]>,
}

/// What other threads send to a lane.
#[derive(Debug)]
pub(super) enum Command {
    /// Pass an order on to the sink.
    Obey(Order),
    /// Read a connection that the acceptor took, or that has brought these bytes already.
    Serve(Stream, Place, Vec<u8>),
    /// End.
    Stop(Stop),
}

/// How lanes end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    /// What has not been read by then is left.
    pub(super) deadline: Instant,
    pub(super) manner: Manner,
}

/// What becomes of the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// What has arrived is read, and they are closed.
    Close,
    /// Nothing is done to them: a successor goes on reading.
    HandOver,
}

impl Orders {
    /// The way to lanes that read from these channels.
    pub(super) fn new(lanes: Vec<UnboundedSender<Command>>) -> Self {
        Self { lanes: lanes.into() }
    }

    /// Returns how many lanes there are.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Sends an order to one lane, which obeys it between two batches; `false` when the lane has
    /// ended or there is no such lane.
    #[must_use]
    pub fn send(&self, lane: usize, order: Order) -> bool {
        self.lanes.get(lane).is_some_and(|sender| sender.send(Command::Obey(order)).is_ok())
    }

    /// Sends an order to every lane, made for each by its number; returns how many took it.
    pub fn send_to_all(&self, mut order: impl FnMut(usize) -> Order) -> usize {
        (0..self.lanes.len()).filter(|&lane| self.send(lane, order(lane))).count()
    }

    /// Tells every lane to end.
    pub(super) fn stop(&self, stop: Stop) {
        for sender in self.lanes.iter() {
            // A lane whose channel is closed has stopped already.
            sender.send(Command::Stop(stop)).unwrap_or_default();
        }
    }
}

/// Where the acceptor can send connections to.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    lanes: Vec<UnboundedSender<Command>>,
    connections: Arc<[AtomicUsize]>,
    /// How many there may be on all lanes.
    most: usize,
    idle: Option<Duration>,
}

/// A connection's place on its lane; the lane counts it until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<[AtomicUsize]>,
    lane: usize,
    /// For how long nothing may come.
    pub(super) idle: Option<Duration>,
}

impl Peers {
    /// Lanes without connections.
    pub(super) fn new(lanes: Vec<UnboundedSender<Command>>, limits: StreamLimits) -> Self {
        let connections = lanes.iter().map(|_| AtomicUsize::new(0)).collect();
        Self { lanes, connections, most: limits.most(), idle: limits.idle }
    }

    /// Gives a connection to the lane of its place; returns it when that lane has stopped.
    pub(super) fn hand_out(
        &self,
        stream: Stream,
        place: Place,
        unfinished: Vec<u8>,
    ) -> Option<Command> {
        let sender = self.lanes.get(place.lane);
        let command = Command::Serve(stream, place, unfinished);
        match sender {
            Some(sender) => sender.send(command).err().map(|refused| refused.0),
            None => Some(command),
        }
    }

    /// A place on the lane with the fewest connections; `None` when there are too many.
    pub(super) fn reserve(&self) -> Option<Place> {
        // Relaxed: a slightly old count only spreads connections a little less evenly.
        let counts = self.connections.iter().map(|count| count.load(Ordering::Relaxed));
        (counts.sum::<usize>() < self.most).then(|| self.reserve_another())
    }

    /// A place on the lane with the fewest connections, however many there are.
    pub(super) fn reserve_another(&self) -> Place {
        let counts = self.connections.iter().map(|count| count.load(Ordering::Relaxed));
        let lane = counts.enumerate().min_by_key(|&(_, count)| count).map_or(0, |(lane, _)| lane);
        if let Some(count) = self.connections.get(lane) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Place { connections: Arc::clone(&self.connections), lane, idle: self.idle }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(count) = self.connections.get(self.lane) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lane_with_the_fewest_connections_gets_the_next() {
        let (sender, _receiver) = tokio::sync::mpsc::unbounded_channel();
        let limits = StreamLimits { connections: Some(5), idle: None };
        let peers = Peers::new(vec![sender; 3], limits);
        let mut places: Vec<Place> = (0..4).filter_map(|_| peers.reserve()).collect();
        assert_eq!(places.iter().map(|place| place.lane).collect::<Vec<_>>(), [0, 1, 2, 0]);
        places.remove(1);
        let place = peers.reserve();
        assert_eq!(place.as_ref().map(|place| place.lane), Some(1));
        let last = peers.reserve();
        assert!(last.is_some() && peers.reserve().is_none());
        drop(place);
        assert!(peers.reserve().is_some());
    }
}

//! What is done with the number of a known line, in the reference's operations and their order.

use std::hash::BuildHasher;

use foldhash::fast::{FixedState, RandomState};
use indexmap::IndexSet;

use crate::parse::Repeat;

/// What a value does to its cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing: the line is only counted.
    None,
    /// Adds to a counter, which takes no negative value.
    Increment,
    /// Adds what a running total has grown by (`counter_mode: absolute`), which is never negative; repeated only
    /// where nobody takes it.
    Advance,
    /// Sets a gauge; a sign would make the value relative.
    Set,
    /// Adds to a gauge (`counter_mode: updown`).
    Change,
    /// Goes into a histogram or a summary.
    Observe,
}

/// An effect with all its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    /// What the value does.
    pub effect: Effect,
    /// How often it is observed.
    pub times: u64,
    milliseconds: bool,
    rate_bits: u64,
    scale_bits: u64,
}

impl Operation {
    /// The operation of a line's grammar and its rule's scale.
    #[must_use]
    pub fn new(effect: Effect, repeat: Repeat, scale: Option<f64>, times: u64) -> Self {
        Self {
            effect,
            times,
            milliseconds: repeat.milliseconds,
            rate_bits: repeat.rate.to_bits(),
            // Multiplying by one changes no number, so it stands for no scale.
            scale_bits: scale.unwrap_or(1.0).to_bits(),
        }
    }

    /// The value to be aggregated; `None` where the line must be looked at as a whole.
    #[inline]
    #[must_use]
    pub fn apply(&self, wire: f64) -> Option<f64> {
        if self.effect == Effect::Set && wire.is_sign_negative() {
            return None;
        }
        // A division by one takes as long as any other, so it is left out.
        let repeat =
            Repeat { milliseconds: self.milliseconds, rate: f64::from_bits(self.rate_bits) };
        let value = repeat.apply(wire) * f64::from_bits(self.scale_bits);
        let is_total = matches!(self.effect, Effect::Increment | Effect::Advance);
        let is_refused = is_total && value < 0.0;
        (value.is_finite() && !is_refused).then_some(value)
    }
}

/// A lane's operations by number. Traffic uses few: one per kind, rate and scale.
#[derive(Debug)]
pub struct Operations(IndexSet<Operation, RandomState>);

/// Clients choose rates, so their number is bounded.
const MAX_OPERATIONS: usize = 1 << 12;

impl Operations {
    /// No operation yet.
    #[must_use]
    pub fn new() -> Self {
        Self(IndexSet::default())
    }

    /// The number of an operation; `None` when there are too many.
    pub fn number(&mut self, operation: Operation) -> Option<u32> {
        if self.0.len() >= MAX_OPERATIONS && !self.0.contains(&operation) {
            return None;
        }
        u32::try_from(self.0.insert_full(operation).0).ok()
    }

    /// The operation of a number.
    #[inline]
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&Operation> {
        self.0.get_index(number as usize)
    }
}

impl Default for Operations {
    fn default() -> Self {
        Self::new()
    }
}

/// The hash of a set's member; all lanes must agree on it, so its seed belongs to the process.
#[must_use]
pub fn member_hash(seed: u64, member: &str) -> u64 {
    FixedState::with_seed(seed).hash_one(member)
}

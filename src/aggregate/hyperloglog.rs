//! `HyperLogLog`: how many different hashes there were, in 4 KiB, with a standard error of 1.6 %.
//!
//! The estimate is Otmar Ertl's improved one ("New cardinality estimation algorithms for
//! `HyperLogLog` sketches", 2017, section 4): unbiased from the first hash on, without tables of
//! corrections and without a second method for small numbers.

use std::sync::atomic::{AtomicU8, Ordering};

/// Leading bits of a hash that pick its register.
const PRECISION: u32 = 12;
const REGISTERS: usize = 1 << PRECISION;
/// The greatest value of a register: all other bits of the hash are zero.
const MAX_RANK: u8 = 64 - 12 + 1;

/// The register of a hash and what it offers it. All bits of the hash must be evenly spread.
fn register_of(hash: u64) -> (usize, u8) {
    let register = usize::try_from(hash >> (64 - PRECISION)).unwrap_or(0);
    let zeros = u8::try_from((hash << PRECISION).leading_zeros()).unwrap_or(u8::MAX);
    (register, zeros.saturating_add(1).min(MAX_RANK))
}

/// Registers that one thread inserts into while others read.
#[derive(Debug)]
pub(super) struct LiveRegisters(Box<[AtomicU8]>);

impl LiveRegisters {
    /// No hash seen.
    pub(super) fn new() -> Self {
        Self((0..REGISTERS).map(|_| AtomicU8::new(0)).collect())
    }

    /// Takes a hash in.
    pub(super) fn insert(&self, hash: u64) {
        let (register, rank) = register_of(hash);
        let Some(held) = self.0.get(register) else { return };
        // Relaxed: this thread is the only writer, and a register publishes no other data.
        if held.load(Ordering::Relaxed) < rank {
            held.store(rank, Ordering::Relaxed);
        }
    }

    /// The registers of such bytes; `None` where those are not as many.
    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let ranks = bytes.iter().map(|rank| AtomicU8::new((*rank).min(MAX_RANK)));
        (bytes.len() == REGISTERS).then(|| Self(ranks.collect()))
    }

    /// Adds what was seen here to `total`.
    pub(super) fn add_to(&self, total: &mut Registers) {
        for (total, held) in total.0.iter_mut().zip(&self.0) {
            *total = (*total).max(held.load(Ordering::Relaxed));
        }
    }
}

/// Registers to merge others into.
#[derive(Clone, Debug)]
pub(super) struct Registers(Box<[u8]>);

impl Default for Registers {
    fn default() -> Self {
        Self(vec![0; REGISTERS].into())
    }
}

impl Registers {
    /// Takes a hash in.
    pub(super) fn insert(&mut self, hash: u64) {
        let (register, rank) = register_of(hash);
        if let Some(held) = self.0.get_mut(register) {
            *held = (*held).max(rank);
        }
    }

    /// The registers as bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many different hashes there were.
    pub(super) fn estimate(&self) -> f64 {
        let mut counts = [0_u32; MAX_RANK as usize + 1];
        for rank in &self.0 {
            if let Some(count) = counts.get_mut(usize::from(*rank)) {
                *count += 1;
            }
        }
        let [untouched, between @ .., full] = counts.map(f64::from);
        let registers = REGISTERS as f64;
        let above = registers * tau(1.0 - full / registers);
        let sum = between.iter().rev().fold(above, |sum, count| 0.5 * (sum + count));
        let sum = sum + registers * sigma(untouched / registers);
        registers * registers / (2.0 * std::f64::consts::LN_2 * sum)
    }
}

/// Ertl's σ: what the share of registers without a hash says.
fn sigma(share: f64) -> f64 {
    if share >= 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut weight, mut sum) = (share, 1.0, share);
    loop {
        power *= power;
        let next = sum + power * weight;
        weight += weight;
        if next <= sum {
            return sum;
        }
        sum = next;
    }
}

/// Ertl's τ: what the share of registers that are not full says.
fn tau(share: f64) -> f64 {
    if share <= 0.0 || share >= 1.0 {
        return 0.0;
    }
    let (mut root, mut weight, mut sum) = (share, 1.0, 1.0 - share);
    loop {
        root = root.sqrt();
        weight *= 0.5;
        let next = sum - (1.0 - root) * (1.0 - root) * weight;
        if next >= sum {
            return sum / 3.0;
        }
        sum = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_close_from_the_first_hash_to_the_last() {
        check(0, 0.0);
        check(1, 0.01);
        check(100, 0.03);
        check(4_096, 0.04);
        check(12_000, 0.04);
        check(50_000, 0.04);
        check(1_000_000, 0.04);
    }

    #[track_caller]
    fn check(hashes: u64, error: f64) {
        let (live, mut registers) = (LiveRegisters::new(), Registers::default());
        for number in 0..hashes {
            let hash = mixed(number);
            if number % 2 == 0 { live.insert(hash) } else { registers.insert(hash) }
        }
        live.add_to(&mut registers);
        let (estimate, expected) = (registers.estimate(), hashes as f64);
        assert!((estimate - expected).abs() <= error * expected, "{estimate} for {expected}");
    }

    #[test]
    fn full_registers_are_no_number() {
        let registers = Registers(vec![MAX_RANK; REGISTERS].into());
        assert!(registers.estimate() > 1e18);
    }

    #[test]
    fn a_hash_of_zeros_offers_the_greatest_rank() {
        assert_eq!(register_of(0), (0, MAX_RANK));
        assert_eq!(register_of(1), (0, MAX_RANK - 1));
        assert_eq!(register_of(u64::MAX), (REGISTERS - 1, 1));
    }

    /// The output function of PCG's 64-bit generator family, RXS M XS.
    fn mixed(number: u64) -> u64 {
        let state = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let word =
            ((state >> ((state >> 59) + 5)) ^ state).wrapping_mul(12_605_985_483_714_917_081);
        (word >> 43) ^ word
    }
}

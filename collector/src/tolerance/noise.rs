//! What the noise of a signal is like beside its width: how much each point resembles the one before,
//! and how far its tails reach. Both make limits wider, or chance would break rules all day. Pure.

use serde::{Deserialize, Serialize};

/// The share of points on either side that is left out of the middle, and where it begins with noise
/// that is normal.
const TAIL: f64 = 0.0025;
const NORMAL_TAIL: f64 = 2.807;

/// How far one point moves the estimate of a tail.
const STEP: f64 = 0.1;

/// The memory of the likeness of neighbours, in points: two days.
const MEMORY: f64 = 576.0;

/// The memory of the level that noise is told from, in points: a day. What lasts longer is drift, and
/// no noise.
const LEVEL_MEMORY: f64 = 288.0;

/// One point says no more than this about likeness.
const DRAG: f64 = 4.0;

/// Beyond this likeness there is no more widening.
const MOST_ALIKE: f64 = 0.9;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Noise {
    /// Where the tails begin, in sigmas.
    below: f64,
    above: f64,
    /// How far from the centre points have been lately.
    level: f64,
    last: f64,
    /// The means of a point's square, and of its product with the one before.
    square: f64,
    product: f64,
}

impl Default for Noise {
    fn default() -> Self {
        let (below, above) = (NORMAL_TAIL, NORMAL_TAIL);
        Self { below, above, level: 0.0, last: 0.0, square: 1.0, product: 0.0 }
    }
}

impl Noise {
    /// Learns of a point: its distance from the centre, and from where it belongs, in sigmas.
    pub(super) fn learn(&mut self, distance: f64, off: f64) {
        let level = self.level;
        self.level += (distance.clamp(-DRAG, DRAG) - level) / LEVEL_MEMORY;
        let (distance, off) = ((distance - level).clamp(-DRAG, DRAG), off - level);
        self.square += (distance * distance - self.square) / MEMORY;
        self.product += (distance * self.last - self.product) / MEMORY;
        self.last = distance;
        for (tail, reach) in [(&mut self.above, off), (&mut self.below, -off)] {
            let is_beyond = if reach > *tail { 1.0 } else { 0.0 };
            *tail = (*tail + STEP * (is_beyond - TAIL)).max(NORMAL_TAIL);
        }
    }

    /// How many times wider than the spread says the sigmas below and above the centre are.
    pub(super) fn widths(&self) -> (f64, f64) {
        let alike = if self.square > 0.0 { self.product / self.square } else { 0.0 };
        let alike = alike.clamp(0.0, MOST_ALIKE);
        // The mean of three points spreads so much wider when each resembles the one before.
        let joint = ((3.0 + 4.0 * alike + 2.0 * alike * alike) / 3.0).sqrt();
        (joint * self.below / NORMAL_TAIL, joint * self.above / NORMAL_TAIL)
    }
}

//! Distributions as quantile functions, and the shape of a fitted stream.

use rand::Rng;

/// Probabilities at which a quantile function is kept.
pub(super) const GRID: [f64; 24] = [
    0.0, 0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85,
    0.9, 0.95, 0.99, 0.999, 1.0,
];

/// Values at [`GRID`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Quantiles(pub(super) [f64; GRID.len()]);

impl Quantiles {
    /// One draw. Between two positive points it is interpolated geometrically, since the tails are long.
    pub(super) fn draw(&self, random: &mut impl Rng) -> f64 {
        let p: f64 = random.random();
        let i = GRID.partition_point(|g| *g <= p).clamp(1, GRID.len() - 1);
        let (low, high) = (self.0[i - 1], self.0[i]);
        let share = (p - GRID[i - 1]) / (GRID[i] - GRID[i - 1]);
        if low > 0.0 && high > 0.0 { low * (high / low).powf(share) } else { low + (high - low) * share }
    }
}

/// One instrument on one market.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) market_type: &'static str,
    pub(super) symbol: &'static str,
    /// Trades and depth updates in the eleven minutes it was fitted to.
    pub(super) trades: u32,
    pub(super) updates: u32,
    pub(super) first_trade_id: u64,
    pub(super) first_update_id: u64,
    pub(super) start_price: f64,
    pub(super) tick: f64,
    pub(super) quantity_decimals: usize,
    pub(super) buy_share: f64,
    /// Milliseconds between bursts; trades of a burst share a timestamp.
    pub(super) gap_ms: Quantiles,
    pub(super) burst: Quantiles,
    /// Share of trades at the price of the one before, and steps (ticks) of the others.
    pub(super) still_within: f64,
    pub(super) still_between: f64,
    pub(super) step_within: Quantiles,
    pub(super) step_between: Quantiles,
    pub(super) quantity: Quantiles,
    pub(super) book: Book,
}

/// Depth updates of one instrument.
#[derive(Debug)]
pub(super) struct Book {
    /// Decimals of the texts in `bids` and `asks`.
    pub(super) price_digits: usize,
    pub(super) size_digits: usize,
    /// Share of levels that are removed (size 0).
    pub(super) gone_share: f64,
    pub(super) gap_ms: Quantiles,
    pub(super) id_step: Quantiles,
    /// Levels of an update on either side.
    pub(super) bids: Quantiles,
    pub(super) asks: Quantiles,
    /// Distance of a level from the best bid, in hundredths of a percent.
    pub(super) offset_bps: Quantiles,
    pub(super) size: Quantiles,
}

//! Makes eleven minutes of trades and depth updates that look like the real ones.
//!
//! Each stream is a walk in ticks: bursts of trades that share a timestamp, most of them at one
//! price, sizes with their smallest lots and long tails; depth updates every 50 or 100 ms whose
//! levels thin out away from the best price. The same seed gives the same rows, to the byte.

use std::fmt::Write as _;

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    distribution::{Book, Stream},
    fitted::STREAMS,
    rows::{Rows, time_text},
};

/// Length of one piece, as of the files it was fitted to.
pub(super) const PIECE_MS: i64 = 11 * 60 * 1000;

/// Rows of one piece that starts at `start_ms` (Unix). `serial` numbers the piece: it seeds the
/// walk and keeps ids apart. `scale` is the share of a full piece's rows to make (0 to 1).
pub(super) fn piece(start_ms: i64, serial: u64, scale: f64) -> Rows {
    let mut rows = Rows::default();
    for (i, stream) in STREAMS.iter().enumerate() {
        let mut random = StdRng::seed_from_u64(serial * 31 + i as u64);
        let prices = trades(stream, start_ms, serial, scale, &mut random, &mut rows.trades);
        updates(stream, start_ms, serial, scale, &prices, &mut random, &mut rows.orderbooks);
    }
    rows
}

/// The trades of one piece alone.
pub(super) fn trades_of(start_ms: i64, serial: u64, scale: f64) -> Vec<String> {
    let mut lines = Vec::new();
    for (i, stream) in STREAMS.iter().enumerate() {
        let mut random = StdRng::seed_from_u64(serial * 31 + i as u64);
        trades(stream, start_ms, serial, scale, &mut random, &mut lines);
    }
    lines
}

/// Appends the trades; returns the price at each of their times.
fn trades(
    s: &Stream,
    start_ms: i64,
    serial: u64,
    scale: f64,
    random: &mut StdRng,
    out: &mut Vec<String>,
) -> Vec<(i64, i64)> {
    let wanted = (f64::from(s.trades) * scale) as u32;
    // A piece draws its own gaps; stretched so that it fills its eleven minutes.
    let mut bursts = Vec::new();
    let (mut time, mut total) = (0.0, 0);
    while total < wanted {
        time += s.gap_ms.draw(random).max(1.0);
        let size = (s.burst.draw(random).round() as u32).clamp(1, wanted - total);
        bursts.push((time, size));
        total += size;
    }
    let stretch = (PIECE_MS - 1000) as f64 / time.max(1.0);
    let mut ticks = (s.start_price / s.tick).round() as i64;
    let anchor = ticks;
    let mut id = s.first_trade_id + serial * u64::from(s.trades);
    let mut prices = Vec::with_capacity(bursts.len());
    for (at, size) in bursts {
        let at = start_ms + (at * stretch) as i64;
        let buy = random.random_bool(s.buy_share);
        ticks += step(s.still_between, &s.step_between, anchor - ticks, random);
        for n in 0..size {
            if n > 0 {
                // A sweep eats the book in one direction.
                let within = step(s.still_within, &s.step_within, 0, random).abs();
                ticks += if buy { within } else { -within } * i64::from(n % 2 == 0);
            }
            out.push(trade(s, at, id, ticks, buy, random));
            id += 1;
        }
        prices.push((at, ticks));
    }
    prices
}

/// A step of the walk, leaning back by `pull` ticks' direction.
fn step(still: f64, size: &super::distribution::Quantiles, pull: i64, random: &mut StdRng) -> i64 {
    if random.random_bool(still) {
        return 0;
    }
    let ticks = size.draw(random).round() as i64;
    let up = random.random_bool((0.5 + 0.00002 * pull as f64).clamp(0.1, 0.9));
    if up { ticks } else { -ticks }
}

fn trade(s: &Stream, at: i64, id: u64, ticks: i64, buy: bool, random: &mut StdRng) -> String {
    let time = time_text(at);
    let price = ticks as f64 * s.tick;
    let lot = 10_f64.powi(-(s.quantity_decimals as i32));
    let quantity = (s.quantity.draw(random) / lot).round().max(1.0) * lot;
    let (side, maker) = if buy { ("buy", "false") } else { ("sell", "true") };
    format!(
        "{time}\tbinance\t{}\t{}\t{id}\t{price:.8}\t{quantity:.8}\t{side}\t{maker}\t{time}\tmarketprism\t{time}\n",
        s.market_type, s.symbol
    )
}

fn updates(
    s: &Stream,
    start_ms: i64,
    serial: u64,
    scale: f64,
    prices: &[(i64, i64)],
    random: &mut StdRng,
    out: &mut Vec<String>,
) {
    let wanted = (f64::from(s.updates) * scale) as u64;
    let mut times = Vec::new();
    let mut time = 0.0;
    for _ in 0..wanted {
        time += s.book.gap_ms.draw(random).max(1.0);
        times.push(time);
    }
    let stretch = (PIECE_MS - 1000) as f64 / time.max(1.0);
    let mut id = s.first_update_id + serial * (1 << 32);
    for at in times {
        let at = start_ms + (at * stretch) as i64;
        let next = prices.partition_point(|(t, _)| *t <= at);
        let ticks = prices.get(next.saturating_sub(1)).map_or((s.start_price / s.tick) as i64, |p| p.1);
        id += s.book.id_step.draw(random).round().max(1.0) as u64;
        out.push(update(s, at, id, ticks as f64 * s.tick, random));
    }
}

fn update(s: &Stream, at: i64, id: u64, bid: f64, random: &mut StdRng) -> String {
    let time = time_text(at);
    let ask = bid + s.tick;
    let (bids, bids_count) = levels(&s.book, bid, s.book.bids.draw(random), -1.0, s.tick, random);
    let (asks, asks_count) = levels(&s.book, ask, s.book.asks.draw(random), 1.0, s.tick, random);
    let (bid_size, ask_size) = (s.book.size.draw(random), s.book.size.draw(random));
    format!(
        "{time}\tbinance\t{}\t{}\t{id}\t{bids_count}\t{asks_count}\t{bid:.8}\t{ask:.8}\t{bid_size:.8}\t{ask_size:.8}\t{bids}\t{asks}\tmarketprism\t{time}\n",
        s.market_type, s.symbol
    )
}

/// JSON pairs of `[price, size]` as the exchange writes them.
fn levels(
    book: &Book,
    best: f64,
    count: f64,
    direction: f64,
    tick: f64,
    random: &mut StdRng,
) -> (String, usize) {
    let count = count.round().max(0.0) as usize;
    let mut text = String::with_capacity(count * 30 + 2);
    text.push('[');
    for i in 0..count {
        let offset = book.offset_bps.draw(random).max(0.0) / 1e4;
        let price = ((best * (1.0 + direction * offset)) / tick).round() * tick;
        let size = if random.random_bool(book.gone_share) { 0.0 } else { book.size.draw(random) };
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(text, "{comma}[\"{price:.0$}\",\"{size:.1$}\"]", book.price_digits, book.size_digits);
    }
    text.push(']');
    (text, count)
}

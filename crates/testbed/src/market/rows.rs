//! Rows as text on their way into the hot tables.

use bytes::Bytes;
use chrono::DateTime;

/// Lines of `TSV` (each with its line feed), in no order.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) trades: Vec<String>,
    pub(super) orderbooks: Vec<String>,
}

/// Columns of the trades' lines.
pub(super) const TRADES_HEADER: &str = "timestamp\texchange\tmarket_type\tsymbol\ttrade_id\tprice\tquantity\tside\tis_maker\ttrade_time\tdata_source\tcreated_at\n";
/// Columns of the order books' lines.
pub(super) const ORDERBOOKS_HEADER: &str = "timestamp\texchange\tmarket_type\tsymbol\tlast_update_id\tbids_count\tasks_count\tbest_bid_price\tbest_ask_price\tbest_bid_quantity\tbest_ask_quantity\tbids\tasks\tdata_source\tcreated_at\n";

/// A `DateTime64(3)` in UTC.
pub(super) fn time_text(unix_ms: i64) -> String {
    DateTime::from_timestamp_millis(unix_ms).unwrap_or_default().format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// Cuts lines into bodies of about `limit` bytes, each with the header.
pub(super) fn bodies(header: &str, lines: &[String], limit: usize) -> Vec<(Bytes, u64)> {
    let mut bodies = Vec::new();
    let mut body = String::from(header);
    let mut rows = 0;
    for line in lines {
        body.push_str(line);
        rows += 1;
        if body.len() >= limit {
            bodies.push((
                Bytes::from(std::mem::replace(&mut body, header.to_owned())),
                std::mem::take(&mut rows),
            ));
        }
    }
    if rows > 0 {
        bodies.push((Bytes::from(body), rows));
    }
    bodies
}

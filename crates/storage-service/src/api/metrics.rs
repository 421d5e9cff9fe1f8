//! `GET /metrics`: what the status page says of the link, in OpenMetrics, for Prometheus.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderName, StatusCode, header::CONTENT_TYPE},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text::encode},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use super::{ApiError, App};
use crate::link::{LinkMonitor, LinkState};

const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is scraped.
pub fn registry(link: Arc<LinkMonitor>) -> Registry {
    let mut registry = Registry::with_prefix("hybrid_storage");
    registry.register_collector(Box::new(LinkCollector(link)));
    registry
}

struct LinkCollector(Arc<LinkMonitor>);

impl std::fmt::Debug for LinkCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkCollector")
    }
}

impl Collector for LinkCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> std::fmt::Result {
        let link = self.0.status();
        let gauge = ConstGauge::new(0.0_f64);
        let mut states = encoder.encode_descriptor(
            "link_state",
            "1 for the state the link to the NAS is in",
            None,
            gauge.metric_type(),
        )?;
        for state in LinkState::ALL.map(LinkState::as_str) {
            let is = ConstGauge::new(f64::from(u8::from(link.state == state)));
            is.encode(states.encode_family(&[("state", state)])?)?;
        }
        let count = |seconds: Option<u64>| seconds.map(|seconds| seconds as f64);
        let seconds = |ms: Option<f64>| ms.map(|ms| ms / 1e3);
        let rate = "bytes per second";
        for (name, unit, value, help) in [
            ("link_stable", None, Some(f64::from(u8::from(link.is_stable))), "1 when moves may send"),
            ("link_stability", None, link.stability, "how good the line is, 0 to 1"),
            ("link_answer_age", Some(Unit::Seconds), count(link.http_s), "since the gateway last answered"),
            ("link_handshake_age", Some(Unit::Seconds), count(link.handshake_s), "since the last handshake"),
            ("link_silence", Some(Unit::Seconds), count(link.silent_s), "since a byte of a transfer moved"),
            ("link_rtt", Some(Unit::Seconds), seconds(link.rtt_ms), "smoothed round trip"),
            ("link_min_rtt", Some(Unit::Seconds), seconds(link.min_rtt_ms), "least round trip"),
            ("link_jitter", Some(Unit::Seconds), seconds(link.jitter_ms), "deviation of the round trip"),
            ("link_loss_ratio", None, link.loss, "share of questions lost"),
            ("link_bandwidth_bytes_per_second", None, link.bandwidth_bytes_s, "goodput of our transfers"),
            ("link_capacity_bytes_per_second", None, link.capacity_bytes_s, "the most carried lately"),
            ("link_limit_bytes_per_second", None, count(link.limit_bytes_s), rate),
            ("link_pace_bytes_per_second", None, count(link.pace_bytes_s), rate),
        ] {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?)?;
        }
        for (name, value, help) in [
            ("link_sent", link.sent_bytes, "sent to the NAS through the tunnel"),
            ("link_received", link.received_bytes, "received from the NAS through the tunnel"),
        ] {
            let Some(value) = value else { continue };
            let counter = ConstCounter::new(value);
            let unit = Some(&Unit::Bytes);
            counter.encode(encoder.encode_descriptor(name, help, unit, counter.metric_type())?)?;
        }
        Ok(())
    }
}

/// The scrape.
pub async fn metrics(
    State(app): State<Arc<App>>,
) -> Result<([(HeaderName, &'static str); 1], String), ApiError> {
    let mut text = String::new();
    encode(&mut text, &app.metrics).map_err(|error| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "metrics", format!("encode the metrics: {error}"))
    })?;
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], text))
}

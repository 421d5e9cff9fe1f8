//! The log: one line an event, to standard error, so that standard output stays free for answers
//! (`keygen` prints a key there). `RUST_LOG` chooses what is said; without it everything from `info` on.
//!
//! Every line carries the fields of the spans it was written in (`query_id`, `move_id`, `batch_id`), so that
//! one id leads through the logs of both daemons. Such spans have the level of errors: whatever level
//! `RUST_LOG` leaves of a target's lines, the lines keep their ids.

use std::{
    fmt,
    io::{IsTerminal as _, stderr},
};

use serde_json::{Map, Value};
use storage_config::LogFormat;
use tracing::{Event, Span, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    registry::LookupSpan,
};

/// What is said when `RUST_LOG` does not choose. boringtun repeats what the tunnel says better.
const DEFAULT: &str = "info,boringtun=off";

/// Begins to log. JSON lines carry an event's fields and those of its spans beside `timestamp`, `level`,
/// `target` and `message`; text names the spans before the message, and is coloured on a terminal.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match format {
        LogFormat::Json => lines.json().event_format(FlatJson).init(),
        LogFormat::Text => lines.with_ansi(stderr().is_terminal()).init(),
    }
}

/// Runs `work` on a blocking thread, in the span of the caller: its lines carry the same ids.
pub fn spawn_blocking<F, T>(work: F) -> tokio::task::JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let span = Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
}

/// One JSON object a line, without nesting. Where names meet, an inner span's field stands for an outer
/// span's, and the event's own for both. Needs fields that are formatted as JSON.
struct FlatJson;

impl<S, N> FormatEvent<S, N> for FlatJson
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Map::new();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<FormattedFields<N>>() {
                extend(&mut fields, &of_span.fields);
            }
        }
        let mut of_event = String::new();
        context.format_fields(Writer::new(&mut of_event), event)?;
        extend(&mut fields, &of_event);
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let metadata = event.metadata();
        let head = [
            ("timestamp", timestamp.as_str()),
            ("level", metadata.level().as_str()),
            ("target", metadata.target()),
        ];
        let mut separator = '{';
        for (name, value) in head {
            fields.remove(name);
            write!(writer, "{separator}\"{name}\":{}", Value::from(value))?;
            separator = ',';
        }
        for (name, value) in &fields {
            write!(writer, ",{}:{value}", Value::from(name.as_str()))?;
        }
        writeln!(writer, "}}")
    }
}

/// Adds the members of a JSON object; a span without fields has none.
fn extend(fields: &mut Map<String, Value>, object: &str) {
    if let Ok(Value::Object(members)) = serde_json::from_str(object) {
        fields.extend(members);
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use parking_lot::Mutex;
    use tracing::{error_span, field::Empty};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `work` logs, line by line.
    fn lines(work: impl FnOnce()) -> Vec<Value> {
        let written = Written::default();
        let writer = written.clone();
        let subscriber =
            tracing_subscriber::fmt().json().event_format(FlatJson).with_writer(move || writer.clone());
        tracing::subscriber::with_default(subscriber.finish(), work);
        let text = String::from_utf8(written.0.lock().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_carries_the_fields_of_its_spans_flat() {
        let lines = lines(|| {
            let request = error_span!("request", query_id = Empty, batch_id = Empty);
            let _request = request.enter();
            request.record("query_id", "q-1");
            let _batch = error_span!("batch", batch_id = 7_u64).entered();
            tracing::info!(rows = 3, "said \"so\"");
        });
        assert_eq!(lines.len(), 1);
        let line = lines[0].as_object().unwrap();
        let expected =
            [("level", "INFO"), ("target", module_path!()), ("query_id", "q-1"), ("message", "said \"so\"")];
        for (name, value) in expected {
            assert_eq!(line[name], value, "{line:?}");
        }
        assert_eq!((&line["batch_id"], &line["rows"]), (&7.into(), &3.into()));
        assert_eq!(line.len(), 7, "{line:?}");
    }

    #[test]
    fn the_events_own_field_stands_for_the_spans() {
        let lines = lines(|| {
            let _span = error_span!("move", move_id = 1, state = "sending").entered();
            tracing::warn!(state = "proven", "x");
            tracing::warn!("y");
        });
        assert_eq!(
            (lines[0]["state"].as_str(), lines[1]["state"].as_str()),
            (Some("proven"), Some("sending"))
        );
    }

    #[tokio::test]
    async fn blocking_work_stays_in_the_span() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber =
            tracing_subscriber::fmt().json().event_format(FlatJson).with_writer(move || writer.clone());
        let listening = tracing::Dispatch::new(subscriber.finish());
        let there = listening.clone();
        let task = tracing::dispatcher::with_default(&listening, || {
            let _batch = error_span!("batch", batch_id = 7).entered();
            spawn_blocking(move || {
                tracing::dispatcher::with_default(&there, || tracing::info!("on another thread"));
            })
        });
        task.await.unwrap();
        let line: Value = serde_json::from_slice(&written.0.lock()).unwrap();
        assert_eq!(line["batch_id"], 7, "{line}");
    }
}

//! Encodes and decodes a file as a batch:
//!
//! ```text
//! clickhouse … 'SELECT … FORMAT Native' > rows.native
//! cargo run -p batch-codec --example batch encode rows.native rows.batch
//! cargo run -p batch-codec --example batch decode rows.batch rows.native
//! ```
//!
//! Any bytes can be encoded; ClickHouse's Native format becomes small.

use std::{
    error::Error,
    fs::File,
    io::{self, BufReader, BufWriter, Write as _},
};

use batch_codec::{Decoder, Effort, Encoder, Limits};

/// The most that is decoded: a batch that claims more is refused.
const MAX_RAW_BYTES: u64 = 4 << 30;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [verb, from, to] = arguments.as_slice() else { return Err("encode|decode FROM TO".into()) };
    let (mut from, to) = (BufReader::new(File::open(from)?), BufWriter::new(File::create(to)?));
    match verb.as_str() {
        "encode" => {
            let mut encoder = Encoder::new(to, Effort::Auto)?;
            io::copy(&mut from, &mut encoder)?;
            let mut encoded = encoder.finish()?;
            encoded.w.flush()?;
            println!("{} bytes became {}", encoded.raw_bytes, encoded.encoded_bytes);
            println!("bytes of each column: {:?}", encoded.column_bytes);
        }
        "decode" => {
            let (mut decoder, mut to) = (Decoder::new(from, Limits::raw(MAX_RAW_BYTES))?, to);
            // The end is reached only when length and hash were right.
            let bytes = io::copy(&mut decoder, &mut to)?;
            to.flush()?;
            println!("{bytes} bytes, proven: {}", decoder.is_proven());
        }
        other => return Err(format!("encode or decode, not {other}").into()),
    }
    Ok(())
}

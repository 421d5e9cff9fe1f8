//! Scratch: sizes and speeds on files of Native bytes.
#![allow(clippy::unwrap_used, missing_docs)]
use batch_codec::{Decoder, Effort, Encoder, Limits};
use std::io::{Read, Write};
fn cpu() -> f64 {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse::<f64>()
        .unwrap()
        / 1e9
}
fn main() {
    let mut args = std::env::args().skip(1);
    let effort: Effort = args.next().unwrap().parse().unwrap();
    for path in args {
        let raw = std::fs::read(&path).unwrap();
        let (mut best_e, mut best_d) = (f64::MAX, f64::MAX);
        let mut size = 0;
        let mut last = vec![];
        for _ in 0..7 {
            let t = cpu();
            let mut e = Encoder::new(Vec::new(), effort).unwrap();
            for piece in raw.chunks(1 << 20) {
                e.write_all(piece).unwrap();
            }
            let encoded = e.finish().unwrap();
            let columns = encoded.column_bytes;
            let encoded = encoded.w;
            last = columns;
            best_e = best_e.min(cpu() - t);
            size = encoded.len();
            let t = cpu();
            let mut d = Decoder::new(encoded.as_slice(), Limits::raw(raw.len() as u64)).unwrap();
            let mut out = vec![0; 512 << 10];
            let mut at = 0;
            loop {
                let n = d.read(&mut out).unwrap();
                if n == 0 {
                    break;
                }
                assert!(out[..n] == raw[at..at + n]);
                at += n;
            }
            assert_eq!(at, raw.len());
            best_d = best_d.min(cpu() - t);
        }
        println!("{last:?}");
        let mb = raw.len() as f64 / 1e6;
        println!(
            "{path}: {size} bytes, x{:.2}, encode {:.0} MB/s, decode {:.0} MB/s",
            raw.len() as f64 / size as f64,
            mb / best_e,
            mb / best_d
        );
    }
}

//! Writes starting inputs for the fuzz targets, and the golden files of a new version.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod support;

use std::{fs, path::Path};

use batch_codec::Effort;
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use support::{Shape, encode, native, shape};

#[test]
#[ignore = "writes files for the fuzz targets"]
fn seeds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    for number in 0..120_u64 {
        let mut columns = proptest::collection::vec(shape(), 1..5).new_tree(&mut runner).unwrap().current();
        if number % 3 == 0 {
            let key = Shape::LowCardinality(Box::new(Shape::Text), false);
            columns.splice(0..0, [Shape::Fixed("DateTime64(3)".into(), 8), key]);
        }
        let raw = native(&columns, &[3 + number as usize * 3 % 250, number as usize % 4], number);
        for (target, bytes) in
            [("decoder", encode(&raw, Effort::Auto)), ("native_reader", [vec![number as u8], raw].concat())]
        {
            let dir = corpus.join(target);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(format!("seed-{number}")), bytes).unwrap();
        }
    }
}

#[test]
#[ignore = "writes a golden file: only when the version is new"]
fn golden() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let (raw, encoded) = support::golden_v2();
    fs::write(dir.join("v2.batch"), encoded).unwrap();
    fs::write(dir.join("v2.native"), raw).unwrap();
}

//! `mutate SECONDS [TARGET …]`: feeds the fuzz targets on a stable toolchain, without coverage.
//!
//! Inputs are the files of `corpus/TARGET` and of the golden batches, as they are and then changed at
//! random: bits, bytes, cuts, repeats, and pieces of two inputs joined. An input that makes its target panic
//! is kept in `artifacts/TARGET/` and ends the run with exit code 1; the seed of a run is printed, and
//! `MUTATE_SEED` repeats it.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 4] = [
    ("decoder", fuzz::decoder),
    ("native_reader", fuzz::native_reader),
    ("wg_quick", fuzz::wg_quick),
    ("datagrams", fuzz::datagrams),
];
/// A longer input only takes longer.
const MAX_BYTES: usize = 64 << 10;
/// One input that takes longer is a finding too.
const SLOW: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(5);
    let wanted: Vec<String> = arguments.collect();
    let seed = std::env::var("MUTATE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |at| at.as_nanos() as u64)
    });
    println!("seed {seed}");
    // A panic is reported below, with its input.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let chosen = TARGETS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name));
    for target in chosen {
        match feed(target, Duration::from_secs(seconds), seed) {
            Ok(inputs) => println!("{:<14} {inputs} inputs in {seconds} s", target.0),
            Err(file) => {
                eprintln!("{} fails on {}", target.0, file.display());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Feeds one target; the number of inputs, or the file of the one that failed.
fn feed((name, run): &Target, limit: Duration, seed: u64) -> Result<u64, PathBuf> {
    let inputs = corpus(name);
    let (mut random, deadline) = (Random(seed | 1), Instant::now() + limit);
    let mut count = 0;
    while Instant::now() < deadline {
        let input = match inputs.get(count as usize) {
            Some(input) => input.clone(),
            None => mutated(&inputs, &mut random),
        };
        let started = Instant::now();
        if catch_unwind(AssertUnwindSafe(|| run(&input))).is_err() || started.elapsed() > SLOW {
            return Err(kept(name, &input));
        }
        count += 1;
    }
    Ok(count)
}

/// Starting inputs; an empty one when there are none.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = match name {
        "decoder" | "native_reader" => Some(root.join("../crates/batch-codec/tests/golden")),
        _ => None,
    };
    let folders = golden.into_iter().chain([root.join("corpus").join(name), root.join("seeds").join(name)]);
    let files = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let mut paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
    paths.sort();
    let mut inputs: Vec<Vec<u8>> = paths.iter().filter_map(|path| fs::read(path).ok()).collect();
    inputs.push(Vec::new());
    inputs
}

fn mutated(inputs: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = inputs[random.below(inputs.len())].clone();
    bytes.truncate(MAX_BYTES);
    for _ in 0..1 + random.below(8) {
        let at = random.below(bytes.len() + 1);
        let length = random.below(32).min(bytes.len() - at);
        match random.below(7) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.next() as u8),
            2 => drop(bytes.drain(at..at + length)),
            3 => {
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => {
                let other = &inputs[random.below(inputs.len())];
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            5 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            _ if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            _ => bytes.push(random.next() as u8),
        }
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

fn kept(name: &str, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts").join(name);
    let path = folder.join(format!("failed-{}", input.len()));
    if let Err(error) = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input)) {
        eprintln!("{}: {error}; the input is {input:?}", path.display());
    }
    path
}

/// xorshift64*: good enough to choose with, and repeatable.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 16) as usize % bound
    }
}

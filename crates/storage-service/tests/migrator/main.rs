//! Moves on real engines and a real gateway: what is moved, and what is seen meanwhile.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod changed;
mod killed;
mod moves;
mod restored;
mod scene;

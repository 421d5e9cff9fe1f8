//! Columns in memory, and the leaves that are compressed.
//!
//! A column is a small tree that follows its [`Type`](crate::native::Type). What is compressed are its
//! leaves, depth first: runs of numbers (null maps, array sizes and dictionary indices are numbers
//! too) and runs of strings.

mod numbers;
mod text;
mod tree;

pub(crate) use numbers::{Numbers, narrow};
pub(crate) use text::Text;
pub(crate) use tree::{Column, Leaf};

//! The two containers. Version 2 is a header with the schema, frames and a footer with an index; a row
//! group is one frame about the group and one frame for each of its pages. What cannot be read as
//! Native travels in opaque frames behind the row groups. Version 1 is one zstd stream.

mod frame;
mod group;
mod index;
mod order;
mod page;
mod reading;
mod schema;
mod strands;
mod zstd_v1;

pub(crate) use frame::{Frame, FrameKind, read_exact, read_frame, read_some, read_to, write_frame};
pub(crate) use group::GroupBuilder;
pub(crate) use index::{Footer, GroupEntry, PageEntry};
pub(crate) use reading::{Group, GroupHead};
pub(crate) use schema::Schema;
pub(crate) use zstd_v1::ZstdDecoder;

//! What stands in a text, without a catalog: its blocks (SELECT … FROM … WHERE …), the sources that FROM names, what
//! its names can mean, and how pieces of it are replaced.

pub(crate) mod blocks;
pub(crate) mod scope;
pub(crate) mod sources;
pub(crate) mod splice;
pub(crate) mod statement;

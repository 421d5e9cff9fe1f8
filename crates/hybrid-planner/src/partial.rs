//! The partial plan.
use crate::{Plan, moments::Clock, query::Query, reading::Reading};
pub(crate) fn plan(_q: &Query, _r: &[Reading], _c: Clock<'_>, _f: bool) -> Result<Plan, String> {
    Err("aggregates".into())
}

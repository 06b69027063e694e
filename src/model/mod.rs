//! Words of the domain, shared by every layer. No I/O, no logic beyond arithmetic.

pub mod ids;
pub mod limits;

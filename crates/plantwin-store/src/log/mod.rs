//! The append-only segment log: alarms, commands, audit.
//!
//! Files `log/00000001.seg` of up to 8 MiB: a header, then records, each with length, CRC and MAC
//! ([`record`]). [`check`] reads all of it at opening and mends what is damaged; [`writer`] appends.
//! A hole that was told leaves a marker in its place, so that it is told once and sequences stay
//! without unexplained holes. Absent: what the payloads mean.

pub(crate) mod check;
pub(crate) mod record;
pub(crate) mod segment;
pub(crate) mod writer;

#[cfg(test)]
mod tests;

pub(crate) use check::check;
pub(crate) use writer::Log;

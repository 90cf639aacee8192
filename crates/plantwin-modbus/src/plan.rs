//! Which requests read all points of a device: neighbours share one.
//!
//! Absent: sending them (see `link`).

use crate::{config::PointMap, pdu::Table};

/// Unused registers between two points that are read along rather than asked for separately: a
/// request costs at least 21 bytes and a round trip, a register 2 bytes.
pub(crate) const GAP: u16 = 8;

/// One request and the points in its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Block {
    pub(crate) table: Table,
    pub(crate) start: u16,
    pub(crate) count: u16,
    /// Indices into the points given to [`plan`].
    pub(crate) points: Vec<usize>,
    /// Whether registers are read that belong to no point.
    pub(crate) gaps: bool,
}

/// Fewest requests of neighbours at most `gap` registers apart, none longer than `limit` or the
/// protocol allows.
pub(crate) fn plan(points: &[PointMap], gap: u16, limit: u16) -> Vec<Block> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by_key(|&ix| (points[ix].table, points[ix].register));
    let mut blocks: Vec<Block> = Vec::new();
    for ix in order {
        let map = &points[ix];
        let most = u32::from(limit.min(map.table.read_limit()));
        if let Some(block) = blocks.last_mut() {
            let end = u32::from(block.start) + u32::from(block.count);
            let near = u32::from(map.register) <= end + u32::from(gap);
            let length = map.end().saturating_sub(u32::from(block.start));
            if block.table == map.table && near && length <= most {
                block.gaps |= u32::from(map.register) > end;
                block.count = length as u16;
                block.points.push(ix);
                continue;
            }
        }
        blocks.push(Block {
            table: map.table,
            start: map.register,
            count: map.codec.format.width(),
            points: vec![ix],
            gaps: false,
        });
    }
    blocks
}

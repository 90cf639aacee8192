//! The registers of one played device: what a measurement writes and a client reads.
//!
//! A plain Modbus client cannot be told that a value is bad. So that it does not take one for
//! good, it reads a NaN where the format has one, and gets the exception SERVER DEVICE FAILURE
//! where it has none. Absent: sockets and answers (see `station`).

use plantwin_adapter::Measurement;
use plantwin_model::{Access, PointIx, PointSpec, Quality};

use crate::{
    config::PointMap,
    native::{Flag, Stamped},
    pdu::{Exception, Table},
    value::Registers,
};

struct Cell {
    map: PointMap,
    writable: bool,
    registers: Registers,
    flag: Flag,
}

/// The registers of a device.
pub(super) struct Image {
    /// By point.
    cells: Vec<Cell>,
    /// Whether the device answers.
    pub(super) up: bool,
    time: i64,
    sequence: u64,
}

impl Image {
    /// Registers without values.
    pub(super) fn new(maps: Vec<PointMap>, points: &[PointSpec]) -> Self {
        let cell = |(map, spec): (PointMap, &PointSpec)| Cell {
            writable: spec.access == Access::ReadWrite && map.table.writable(),
            registers: nothing(&map),
            flag: Flag::NoValue,
            map,
        };
        let cells = maps.into_iter().zip(points).map(cell).collect();
        Self { cells, up: true, time: 0, sequence: 0 }
    }

    /// Takes a measurement up. While the device is down nothing is measured.
    pub(super) fn publish(&mut self, measurement: &Measurement) {
        if !self.up {
            return;
        }
        self.time = measurement.time.0;
        self.sequence = measurement.sequence;
        for sample in &measurement.samples {
            let Some(cell) = self.cells.get_mut(sample.point.index()) else { continue };
            let flag = match sample.quality {
                Quality::Good => Flag::Good,
                Quality::Uncertain(_) => Flag::Uncertain,
                Quality::Bad(_) => Flag::Bad,
            };
            (cell.registers, cell.flag) = match cell.map.codec.encode(sample.value) {
                Ok(registers) => (registers, flag),
                // It does not fit: better nothing than something else.
                Err(_) => (nothing(&cell.map), Flag::Bad),
            };
        }
    }

    /// The registers with what the device says of each; those of no point are 0.
    pub(super) fn read_native(
        &self,
        table: Table,
        start: u16,
        count: u16,
    ) -> Result<Stamped, Exception> {
        let (from, to) = (u32::from(start), u32::from(start) + u32::from(count));
        let of_table = || self.cells.iter().filter(|c| c.map.table == table);
        if of_table().all(|c| c.map.end() < to) {
            return Err(Exception::ILLEGAL_DATA_ADDRESS);
        }
        let mut out = Stamped {
            time: self.time,
            sequence: self.sequence,
            flaws: vec![Flag::NoValue; usize::from(count)],
            registers: vec![0; usize::from(count)],
        };
        for cell in of_table() {
            for (register, &word) in (u32::from(cell.map.register)..).zip(&cell.registers) {
                if (from..to).contains(&register) {
                    let at = (register - from) as usize;
                    out.registers[at] = word;
                    out.flaws[at] = cell.flag;
                }
            }
        }
        Ok(out)
    }

    /// The registers for a client that can be told nothing of them.
    pub(super) fn read(&self, table: Table, start: u16, count: u16) -> Result<Vec<u16>, Exception> {
        let mut out = self.read_native(table, start, count)?.registers;
        let (from, to) = (u32::from(start), u32::from(start) + u32::from(count));
        for cell in self.cells.iter().filter(|c| c.map.table == table && c.flag >= Flag::Bad) {
            let nan = nothing(&cell.map);
            for (register, &word) in (u32::from(cell.map.register)..).zip(&nan) {
                if (from..to).contains(&register) {
                    if !cell.map.codec.format.is_float() {
                        return Err(Exception::SERVER_DEVICE_FAILURE);
                    }
                    out[(register - from) as usize] = word;
                }
            }
        }
        Ok(out)
    }

    /// What a write means: whole points that may be written, in the order of their registers.
    pub(super) fn writes(
        &self,
        table: Table,
        start: u16,
        values: &[u16],
    ) -> Result<Vec<(PointIx, f64)>, Exception> {
        let mut out = Vec::new();
        let (mut register, mut rest) = (u32::from(start), values);
        while !rest.is_empty() {
            let here = |c: &&Cell| c.map.table == table && u32::from(c.map.register) == register;
            let cell = self.cells.iter().find(here).filter(|c| c.writable);
            let cell = cell.ok_or(Exception::ILLEGAL_DATA_ADDRESS)?;
            // Half a number is none.
            let width = cell.map.codec.format.width();
            let (own, tail) =
                rest.split_at_checked(usize::from(width)).ok_or(Exception::ILLEGAL_DATA_ADDRESS)?;
            let value = cell.map.codec.decode(own).ok_or(Exception::ILLEGAL_DATA_VALUE)?;
            out.push((cell.map.point, value));
            (register, rest) = (register + u32::from(width), tail);
        }
        Ok(out)
    }
}

/// What stands in the registers of a point without a value: NaN, or 0 where there is none.
fn nothing(map: &PointMap) -> Registers {
    let nan = if map.codec.format.is_float() { f64::NAN } else { map.codec.offset };
    map.codec
        .encode(nan)
        .unwrap_or_else(|_| std::iter::repeat_n(0, usize::from(map.codec.format.width())).collect())
}

//! The frame around a message on TCP (MODBUS Messaging on TCP/IP Implementation Guide V1.0b §3.1).
//!
//! Absent: what the message says (see `pdu`), sockets.

use crate::pdu::PDU;

/// MBAP header with unit: transaction 2, protocol 2, length 2, unit 1.
pub(crate) const HEADER: usize = 7;

/// A message in its frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Adu {
    /// Pairs answers with requests.
    pub(crate) transaction: u16,
    /// Which device.
    pub(crate) unit: u8,
    /// The message, 1 to 253 bytes.
    pub(crate) pdu: Vec<u8>,
}

impl Adu {
    /// The bytes for the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.pdu.len());
        out.extend(self.transaction.to_be_bytes());
        out.extend([0, 0]);
        out.extend((self.pdu.len() as u16 + 1).to_be_bytes());
        out.push(self.unit);
        out.extend(&self.pdu);
        out
    }

    /// Takes the first whole frame off `buffer`: `None` while it is not all there, an error when
    /// this is no Modbus and nothing after it can be trusted.
    pub(crate) fn take(buffer: &mut Vec<u8>) -> Result<Option<Self>, String> {
        if buffer.len() < HEADER - 1 {
            return Ok(None);
        }
        if buffer[2..4] != [0, 0] {
            return Err("what came is not modbus".to_owned());
        }
        let length = usize::from(u16::from_be_bytes([buffer[4], buffer[5]]));
        if !(2..=PDU + 1).contains(&length) {
            return Err(format!("a frame claims a length of {length}, which modbus does not know"));
        }
        let end = HEADER - 1 + length;
        if buffer.len() < end {
            return Ok(None);
        }
        let adu = Self {
            transaction: u16::from_be_bytes([buffer[0], buffer[1]]),
            unit: buffer[HEADER - 1],
            pdu: buffer[HEADER..end].to_vec(),
        };
        buffer.drain(..end);
        Ok(Some(adu))
    }
}

//! Session bytes through a native device's function 65, in parts.
//!
//! A message is longer than a Modbus message can be, and a device may think while the bus is
//! needed by others. So a request is put in parts, and its answer is asked for until it is there.
//! Absent: sessions themselves, which are opaque here.

use std::time::Duration;

use plantwin_adapter::LinkError;
use tokio::time::sleep;

use crate::{
    native::{Ask, CHUNK, Progress, SESSION_LIMIT},
    unit::Unit,
};

/// First pause before a device that thinks is asked again; it doubles up to [`SLOWEST`].
const FIRST: Duration = Duration::from_millis(2);
/// Longest such pause.
const SLOWEST: Duration = Duration::from_millis(50);

/// Sends a request of at most [`SESSION_LIMIT`] bytes and waits for the answer.
pub(crate) async fn exchange(unit: &Unit, request: &[u8]) -> Result<Vec<u8>, LinkError> {
    let id = unit.bus.exchange_id();
    let total = request.len() as u16;
    let mut offset = 0;
    loop {
        let part = &request[offset..request.len().min(offset + CHUNK)];
        let put = Ask::Put { id, total, offset: offset as u16, bytes: part.to_vec() };
        let done = unit.native(&put, |answer| put.read_taken(answer)).await;
        done.map_err(crate::unit::Failure::into_error)?;
        offset += part.len();
        if offset >= request.len() {
            break;
        }
    }

    let mut answer = Vec::new();
    let mut pause = FIRST;
    loop {
        let get = Ask::Get { id, offset: answer.len() as u16 };
        let progress = unit.native(&get, |answer| get.read_progress(answer)).await;
        match progress.map_err(crate::unit::Failure::into_error)? {
            Progress::Pending => {
                sleep(pause).await;
                pause = (pause * 2).min(SLOWEST);
            }
            Progress::Refused(reason) => return Err(LinkError::Refused(reason)),
            Progress::Answer { total, bytes } => {
                let total = usize::from(total);
                let stuck = bytes.is_empty() && answer.len() < total;
                answer.extend(bytes);
                if stuck || total > SESSION_LIMIT || answer.len() > total {
                    let reason = "the answer does not fit together".to_owned();
                    return Err(LinkError::Refused(reason));
                }
                if answer.len() == total {
                    return Ok(answer);
                }
            }
        }
    }
}

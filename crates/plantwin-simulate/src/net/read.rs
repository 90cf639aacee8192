//! What a northbound record says of the numbered telemetry of a simulated device.
//!
//! Absent: the values themselves, and records that are not JSON objects of plantwin's.

use serde_json::Value;

/// One record, read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Item {
    /// The frame with this number; so many before it never reached plantwin.
    Value { number: u64, missing_before: u64 },
    /// So many records were dropped by the spool in the place of this one.
    Gap { place: u64, count: u64 },
}

/// Reads a record's body; `None` if it is no such record.
pub(super) fn item(body: &[u8]) -> Option<Item> {
    let object: Value = serde_json::from_slice(body).ok()?;
    let number = |key: &str| object.get(key).and_then(Value::as_u64);
    if let Some(gap) = object.get("gap") {
        let count = gap.get("count").and_then(Value::as_u64)?;
        return Some(Item::Gap { place: number("sequence")?, count });
    }
    let missing_before = number("missing_before").unwrap_or(0);
    // Its sequence may begin anew, its count does not.
    let count = object.get("values")?.get("count")?.get("v")?.as_f64()?;
    Some(Item::Value { number: count as u64, missing_before })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_gaps_are_told_apart_and_anything_else_is_nothing() {
        let read = |text: &str| item(text.as_bytes());
        assert_eq!(
            read(
                r#"{"device":"a","sequence":7,"device_sequence":1,"missing_before":2,
                    "values":{"count":{"v":9.0,"q":"good"}}}"#
            ),
            Some(Item::Value { number: 9, missing_before: 2 })
        );
        assert_eq!(
            read(r#"{"device":"a","sequence":7,"gap":{"count":3,"from":1,"to":2}}"#),
            Some(Item::Gap { place: 7, count: 3 })
        );
        assert_eq!(read(r#"{"device":"a"}"#), None);
        assert_eq!(read("7"), None);
        assert_eq!(read("no"), None);
    }
}

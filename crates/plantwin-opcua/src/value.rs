//! Conversions between the library's values and plantwin's: numbers, times, qualities.
//!
//! Absent: arrays, strings and structures, which no point can hold.

use opcua::types::{DataTypeId, DateTime, Identifier, NodeId, StatusCode, Variant};
use plantwin_model::{Flaw, Quality, Timestamp};

/// 100 ns ticks from 1601-01-01 (OPC UA Part 6, 5.2.2.5) to 1970-01-01.
const UNIX_EPOCH_TICKS: i64 = 116_444_736_000_000_000;

/// The number in a variant; `None` for anything that is neither number nor boolean.
pub(crate) fn number(value: &Variant) -> Option<f64> {
    Some(match *value {
        Variant::Boolean(v) => f64::from(u8::from(v)),
        Variant::SByte(v) => v.into(),
        Variant::Byte(v) => v.into(),
        Variant::Int16(v) => v.into(),
        Variant::UInt16(v) => v.into(),
        Variant::Int32(v) => v.into(),
        Variant::UInt32(v) => v.into(),
        Variant::Int64(v) => v as f64,
        Variant::UInt64(v) => v as f64,
        Variant::Float(v) => v.into(),
        Variant::Double(v) => v,
        _ => return None,
    })
}

/// Numeric data types that can be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Boolean,
    SByte,
    Byte,
    Int16,
    UInt16,
    Int32,
    UInt32,
    Int64,
    UInt64,
    Float,
    Double,
}

impl Kind {
    /// Of a `DataType` attribute, if it is one of the built-in types.
    pub(crate) fn of_type(node: &NodeId) -> Option<Self> {
        let Identifier::Numeric(id) = node.identifier else { return None };
        if node.namespace != 0 {
            return None;
        }
        let kinds = [
            (DataTypeId::Boolean, Self::Boolean),
            (DataTypeId::SByte, Self::SByte),
            (DataTypeId::Byte, Self::Byte),
            (DataTypeId::Int16, Self::Int16),
            (DataTypeId::UInt16, Self::UInt16),
            (DataTypeId::Int32, Self::Int32),
            (DataTypeId::UInt32, Self::UInt32),
            (DataTypeId::Int64, Self::Int64),
            (DataTypeId::UInt64, Self::UInt64),
            (DataTypeId::Float, Self::Float),
            (DataTypeId::Double, Self::Double),
        ];
        kinds.iter().find(|(t, _)| *t as u32 == id).map(|k| k.1)
    }

    /// Of a value, for nodes whose data type is a subtype or abstract.
    pub(crate) fn of_value(value: &Variant) -> Option<Self> {
        Some(match value {
            Variant::Boolean(_) => Self::Boolean,
            Variant::SByte(_) => Self::SByte,
            Variant::Byte(_) => Self::Byte,
            Variant::Int16(_) => Self::Int16,
            Variant::UInt16(_) => Self::UInt16,
            Variant::Int32(_) => Self::Int32,
            Variant::UInt32(_) => Self::UInt32,
            Variant::Int64(_) => Self::Int64,
            Variant::UInt64(_) => Self::UInt64,
            Variant::Float(_) => Self::Float,
            Variant::Double(_) => Self::Double,
            _ => return None,
        })
    }

    /// `value` as this type, whole numbers rounded to the nearest; `None` if it does not fit.
    pub(crate) fn variant(self, value: f64) -> Option<Variant> {
        let within = |low: f64, high: f64| {
            let rounded = value.round();
            (rounded >= low && rounded <= high).then_some(rounded)
        };
        // `i64::MAX` and `u64::MAX` are no `f64`: the limits are the next ones below.
        Some(match self {
            Self::Boolean => Variant::Boolean(within(0.0, 1.0)? != 0.0),
            Self::SByte => Variant::SByte(within(i8::MIN.into(), i8::MAX.into())? as i8),
            Self::Byte => Variant::Byte(within(0.0, u8::MAX.into())? as u8),
            Self::Int16 => Variant::Int16(within(i16::MIN.into(), i16::MAX.into())? as i16),
            Self::UInt16 => Variant::UInt16(within(0.0, u16::MAX.into())? as u16),
            Self::Int32 => Variant::Int32(within(i32::MIN.into(), i32::MAX.into())? as i32),
            Self::UInt32 => Variant::UInt32(within(0.0, u32::MAX.into())? as u32),
            Self::Int64 => {
                Variant::Int64(within(i64::MIN as f64, (i64::MAX as f64).next_down())? as i64)
            }
            Self::UInt64 => Variant::UInt64(within(0.0, (u64::MAX as f64).next_down())? as u64),
            Self::Float => Variant::Float(value as f32).finite_if(value)?,
            Self::Double => Variant::Double(value),
        })
    }
}

/// Refuses a finite number that became infinite in single precision.
trait FiniteIf: Sized {
    fn finite_if(self, original: f64) -> Option<Self>;
}

impl FiniteIf for Variant {
    fn finite_if(self, original: f64) -> Option<Self> {
        let Self::Float(v) = self else { return Some(self) };
        (v.is_finite() || !original.is_finite()).then_some(self)
    }
}

/// Plant time of a time on the wire; `None` outside the years 1677 to 2262.
pub(crate) fn timestamp(time: DateTime) -> Option<Timestamp> {
    time.as_chrono().timestamp_nanos_opt().map(Timestamp)
}

/// Time on the wire, rounded towards the past to 100 ns.
pub(crate) fn date_time(time: Timestamp) -> DateTime {
    DateTime::from(time.0.div_euclid(100) + UNIX_EPOCH_TICKS)
}

/// Whether a status says that the device itself cannot be reached behind its server.
pub(crate) fn is_device_gone(status: StatusCode) -> bool {
    status.set_overflow(false) == StatusCode::BadNoCommunication
}

/// Quality of a value with this status.
pub(crate) fn quality(status: StatusCode) -> Quality {
    // Info bits such as "overflow" do not make a value worse.
    match status.sub_code() {
        _ if status.is_good() => Quality::Good,
        _ if status.is_uncertain() => Quality::Uncertain(Flaw::DeviceReported),
        code if [StatusCode::BadNoCommunication, StatusCode::BadCommunicationError]
            .iter()
            .any(|s| s.sub_code() == code) =>
        {
            Quality::Bad(Flaw::CommLost)
        }
        _ => Quality::Bad(Flaw::DeviceReported),
    }
}

/// Status of a value with this quality.
pub(crate) fn status(quality: Quality) -> StatusCode {
    match quality {
        Quality::Good => StatusCode::Good,
        Quality::Uncertain(Flaw::OutOfRange) => StatusCode::UncertainEngineeringUnitsExceeded,
        Quality::Uncertain(_) => StatusCode::Uncertain,
        Quality::Bad(Flaw::CommLost) => StatusCode::BadCommunicationError,
        Quality::Bad(Flaw::OutOfRange) => StatusCode::BadOutOfRange,
        Quality::Bad(Flaw::NoValue) => StatusCode::BadNoData,
        Quality::Bad(_) => StatusCode::BadDeviceFailure,
    }
}

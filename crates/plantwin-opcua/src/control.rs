//! Writes and session bytes on a link.
//!
//! Absent: values, which come by subscription (see [`crate::feed`]).

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use opcua::{
    client::Session,
    types::{
        AttributeId, ByteString, DataValue, Error, NodeId, NumericRange, StatusCode, Variant,
        WriteValue,
    },
};
use plantwin_adapter::{Control, LinkError, PointWrite};
use tokio::time::timeout;

use crate::{station::LONGEST_EXCHANGE, value::Kind};

/// A node that can be written.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) node: NodeId,
    /// Point name, for messages.
    pub(crate) name: Arc<str>,
    /// Type to write; `None` if the server declares none that is a number.
    pub(crate) kind: Option<Kind>,
}

/// The way to the device.
pub(crate) struct SessionControl {
    pub(crate) session: Arc<Session>,
    /// By point; `None` where the node is missing or read only, or the device is sealed.
    pub(crate) targets: Arc<[Option<Target>]>,
    /// Object and method of session bytes, if the server has the namespace.
    pub(crate) exchange: Option<(NodeId, NodeId)>,
    /// Whether the device takes sealed commands only.
    pub(crate) sealed: bool,
    pub(crate) endpoint: String,
    pub(crate) timeout: Duration,
}

impl SessionControl {
    fn late(endpoint: &str, wait: Duration) -> LinkError {
        LinkError::Timeout { endpoint: endpoint.to_owned(), millis: wait.as_millis() as u64 }
    }

    /// Awaits a service, at most as long as the link's timeout.
    async fn wait<T>(
        service: impl Future<Output = Result<T, Error>>,
        endpoint: &str,
        wait: Duration,
    ) -> Result<T, LinkError> {
        match timeout(wait, service).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(match error.status() {
                StatusCode::BadTimeout => Self::late(endpoint, wait),
                status @ (StatusCode::BadNotConnected
                | StatusCode::BadConnectionClosed
                | StatusCode::BadCommunicationError
                | StatusCode::BadSessionClosed
                | StatusCode::BadSessionIdInvalid
                | StatusCode::BadSecureChannelClosed) => LinkError::Closed(status.to_string()),
                status => LinkError::Refused(status.to_string()),
            }),
            Err(_) => Err(Self::late(endpoint, wait)),
        }
    }
}

fn request(targets: &[Option<Target>], write: PointWrite) -> Result<WriteValue, LinkError> {
    let target = targets.get(write.point.index()).and_then(Option::as_ref);
    let target = target
        .ok_or_else(|| LinkError::Unsupported(format!("a writable point {}", write.point.0)))?;
    let kind = target
        .kind
        .ok_or_else(|| LinkError::Unsupported(format!("a numeric data type of {}", target.name)))?;
    let value = kind.variant(write.value).ok_or_else(|| {
        LinkError::Refused(format!("{}: {} does not fit {kind:?}", target.name, write.value))
    })?;
    Ok(WriteValue {
        node_id: target.node.clone(),
        attribute_id: AttributeId::Value as u32,
        index_range: NumericRange::None,
        // Many servers refuse a write that brings its own status or times (Part 4, 5.11.4).
        value: DataValue::value_only(value),
    })
}

impl Control for SessionControl {
    fn write(&self, writes: Vec<PointWrite>) -> BoxFuture<'static, Result<(), LinkError>> {
        let (session, targets) = (Arc::clone(&self.session), Arc::clone(&self.targets));
        let (endpoint, limit, sealed) = (self.endpoint.clone(), self.timeout, self.sealed);
        Box::pin(async move {
            if sealed {
                let what = "bare writes: it is sealed, and commands go through its session";
                return Err(LinkError::Unsupported(what.to_owned()));
            }
            let values: Vec<_> =
                writes.iter().map(|&w| request(&targets, w)).collect::<Result<_, _>>()?;
            let codes = Self::wait(session.write(&values), &endpoint, limit).await?;
            if codes.len() != values.len() {
                return Err(LinkError::Refused("an answer of the wrong length".to_owned()));
            }
            let refused = codes.iter().zip(&writes).find(|(code, _)| code.is_bad());
            refused.map_or(Ok(()), |(code, write)| {
                let target = targets.get(write.point.index()).and_then(Option::as_ref);
                let name = target.map_or("", |t| &*t.name);
                Err(LinkError::Refused(format!("{name}: {code}")))
            })
        })
    }

    fn exchange(&self, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, LinkError>> {
        let (session, method) = (Arc::clone(&self.session), self.exchange.clone());
        let (endpoint, limit) = (self.endpoint.clone(), self.timeout);
        Box::pin(async move {
            let plain = || LinkError::Unsupported("a session method".to_owned());
            if request.len() > LONGEST_EXCHANGE {
                let why = format!("a session message has at most {LONGEST_EXCHANGE} bytes");
                return Err(LinkError::Refused(why));
            }
            let (object, method) = method.ok_or_else(plain)?;
            let bytes = Variant::ByteString(ByteString::from(request));
            let call = session.call(vec![(object, method, Some(vec![bytes])).into()]);
            let answers = Self::wait(call, &endpoint, limit).await?;
            let Some(answer) = answers.into_iter().next() else { return Err(plain()) };
            match answer.status_code {
                StatusCode::BadNodeIdUnknown
                | StatusCode::BadNodeIdInvalid
                | StatusCode::BadMethodInvalid
                | StatusCode::BadNotSupported => return Err(plain()),
                code if code.is_bad() => return Err(LinkError::Refused(code.to_string())),
                _ => {}
            }
            match answer.output_arguments.unwrap_or_default().into_iter().next() {
                Some(Variant::ByteString(bytes)) if bytes.len() > LONGEST_EXCHANGE => {
                    Err(LinkError::Refused(format!("an answer of {} bytes", bytes.len())))
                }
                Some(Variant::ByteString(bytes)) => Ok(bytes.value.unwrap_or_default()),
                _ => Err(LinkError::Refused("an answer that is no byte string".to_owned())),
            }
        })
    }
}

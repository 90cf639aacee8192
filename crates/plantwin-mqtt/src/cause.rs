//! Why a connection failed or ended, as lowercase fragments for people.
//!
//! Absent: what TLS has to say (see [`crate::tls`]).

use std::io;

use rumqttc::v5::{
    ConnectionError, StateError,
    mqttbytes::{Error, v5::ConnectReturnCode},
};

/// Why there is no further event.
pub(crate) enum Ended {
    /// It took longer than the library waits.
    Late,
    /// A lowercase fragment.
    Because(String),
}

impl Ended {
    /// What a tunnel has to say tells more than what its loss does to the library; only the word of
    /// the broker itself tells more.
    pub(crate) fn of(error: &ConnectionError, tunnel: Option<String>) -> Self {
        let said = matches!(
            error,
            ConnectionError::ConnectionRefused(_)
                | ConnectionError::MqttState(StateError::ServerDisconnect { .. })
        );
        match error {
            ConnectionError::Timeout(_) => Self::Late,
            _ => Self::Because(tunnel.filter(|_| !said).unwrap_or_else(|| cause(error))),
        }
    }
}

/// Why a connection failed, as a lowercase fragment.
fn cause(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Io(e)
        | ConnectionError::MqttState(
            StateError::Io(e) | StateError::Deserialization(Error::Io(e)),
        ) => io_cause(e),
        ConnectionError::ConnectionRefused(
            code @ (ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized),
        ) => format!(
            "the broker does not let us in ({code:?}): check `username`, `password_file` and what \
             it allows to whom"
        ),
        ConnectionError::ConnectionRefused(code) => format!("the broker refused: {code:?}"),
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            "the broker hung up".to_owned()
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            format!("the broker hung up: {reason_code:?}")
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => {
            "the broker no longer answers".to_owned()
        }
        other => lowercase(&other.to_string()),
    }
}

/// Why the operating system refused, as a lowercase fragment.
pub(crate) fn io_cause(error: &io::Error) -> String {
    lowercase(&error.to_string())
}

pub(crate) fn lowercase(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |c| c.to_lowercase().chain(rest).collect())
}

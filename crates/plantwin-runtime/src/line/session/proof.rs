//! Having a device prove who it is: the gateway's handshake carried over the connection, with
//! the authority asked in between where the device needs a token or is not enrolled yet.
//!
//! Absent: when to ask, and what follows from the answer.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use plantwin_adapter::Control;
use plantwin_authority::{
    AuthError,
    pws::{AuthorityNeed, GatewaySession, Handshake, Step, Withheld},
    registry::EnrolStatus,
};
use plantwin_model::{Clock, DeviceId, ZoneId};

use crate::trust::Trust;

/// Longest wait for the authority.
const AUTHORITY_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for one answer of the device: more than the adapter is given.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Messages of one handshake: a token, an enrolment and the handshake itself take fewer.
const MESSAGES: usize = 8;

/// A proof under way.
pub(super) type Proof = BoxFuture<'static, Result<Box<GatewaySession>, Refusal>>;

/// Why there is no session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::line) struct Refusal {
    /// Short and stable, for the record.
    pub(super) code: &'static str,
    /// A lowercase fragment, for people.
    pub(super) reason: String,
    /// When it is worth asking again over this connection, if ever.
    pub(super) again: Option<Duration>,
}

/// A device that gave no answer, or waits to be approved, is asked again after this time.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(10);
/// We had no room for its handshake: tried again as soon as others may be done.
const WHEN_BUSY: Duration = Duration::from_millis(300);
/// Tries until that is told: thousands of devices that come at once need some, and it is no fault
/// of theirs.
const BUSY_TRIES: u32 = 100;

impl Refusal {
    fn silent(error: &plantwin_adapter::LinkError) -> Self {
        Self { code: "no_answer", reason: format!("failed to {error}"), again: Some(ASK_AGAIN) }
    }

    fn later(reason: &str) -> Self {
        Self { code: "pending", reason: reason.to_owned(), again: Some(ASK_AGAIN) }
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        let again = match &error {
            AuthError::Busy => Some(WHEN_BUSY * 10),
            AuthError::LockedOut(wait) => Some(*wait),
            // Another key or another device will not come over this connection.
            AuthError::WrongDevice(_) | AuthError::WrongZone => None,
            error if error.reason_code() == "revoked" => None,
            _ => Some(ASK_AGAIN),
        };
        Self { code: error.reason_code(), reason: format!("failed to {error}"), again }
    }
}

/// Who is to prove what, over which way.
pub(super) struct Subject {
    pub(super) device: DeviceId,
    pub(super) zone: ZoneId,
    pub(super) control: Arc<dyn Control>,
    /// Tells ways to the device apart.
    pub(super) path: String,
    pub(super) clock: Arc<dyn Clock>,
}

/// Begins a proof.
pub(super) fn prove(trust: &Trust, subject: Subject) -> Proof {
    let trust = trust.clone();
    Box::pin(async move {
        let Subject { device, zone, control, path, clock } = subject;
        // Devices that found no room together do not come back together.
        let spread = device
            .as_str()
            .bytes()
            .fold(7_u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
        let pause = WHEN_BUSY + Duration::from_millis(spread % 300);
        let mut tries = 1;
        let begun = loop {
            let begun = trust.gateway.begin(&device, &zone, &path, clock.now());
            if tries >= BUSY_TRIES || !matches!(begun, Err(AuthError::Busy)) {
                break begun;
            }
            tries += 1;
            tokio::time::sleep(pause).await;
        };
        let (mut handshake, mut message) = begun?;
        for sent in 0..MESSAGES {
            let mut answer = said(&*control, message.clone()).await;
            if answer.is_err() && sent > 0 {
                // It answered before, so the answer may be what was lost. A device gives a message
                // that comes twice the same one, and without its proof it would take for a session
                // what is none here: nobody could open what it then seals.
                answer = said(&*control, message).await;
            }
            let answer = answer?;
            message = match handshake.on_answer(&answer, clock.now()) {
                Step::Send(message) => message,
                Step::Ask(need) => match ask(&trust, &mut handshake, need).await {
                    Ok(message) => message,
                    Err(error) => {
                        // The authority has it on its record, which may be elsewhere.
                        handshake.refused(&error, clock.now());
                        return Err(error.into());
                    }
                },
                Step::Later => return Err(Refusal::later("the device waits to be approved")),
                Step::Up(session) => return Ok(session),
                Step::Failed(error) => return Err(error.into()),
            };
        }
        Err(AuthError::HandshakeOver.into())
    })
}

/// What the device says to a message.
async fn said(control: &dyn Control, message: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    match tokio::time::timeout(ANSWER_WITHIN, control.exchange(message)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Refusal::silent(&error)),
        Err(_) => Err(Refusal::later("the device did not answer")),
    }
}

/// Has the authority answer what the device asked for.
async fn ask(
    trust: &Trust,
    handshake: &mut Handshake,
    need: AuthorityNeed,
) -> Result<Vec<u8>, AuthError> {
    match need {
        AuthorityNeed::Token(request) => {
            let name = trust.gateway.name();
            let asked = trust.authority.token(request, &name);
            match tokio::time::timeout(AUTHORITY_WITHIN, asked).await {
                Ok(Ok(grant)) => handshake.granted(grant),
                Ok(Err(error)) if is_away(&error) => handshake.withheld(Withheld::Away),
                // Evidence against whoever answers, and so not for the device to put into words.
                // By its code, since an authority far away answers in words of its own.
                Ok(Err(error)) if matches!(error.reason_code(), "revoked" | "wrong_key") => {
                    Err(error)
                }
                Ok(Err(error)) => {
                    let message = handshake.withheld(Withheld::Refused)?;
                    tracing::debug!("no token: {error}");
                    Ok(message)
                }
                Err(_) => handshake.withheld(Withheld::Away),
            }
        }
        AuthorityNeed::Enrol(request) => {
            let asked = trust.authority.enrol(*request);
            match tokio::time::timeout(AUTHORITY_WITHIN, asked).await {
                Ok(Ok(EnrolStatus::Active { .. })) => handshake.enrolled(),
                Ok(Ok(EnrolStatus::Pending { fingerprint })) => {
                    handshake.enrol_pending(&fingerprint)
                }
                Ok(Err(error)) if !is_away(&error) => Err(error),
                _ => handshake.withheld(Withheld::Away),
            }
        }
    }
}

/// Whether nobody could be asked, rather than somebody said no.
const fn is_away(error: &AuthError) -> bool {
    matches!(error, AuthError::Unavailable(_))
}

//! The device's side of a session start.
//!
//! Absent: fetching tokens (its owner asks the authority when [`DeviceAgent::needs_token`] says
//! so), judging the gateway (comes with the mutual handshake).

use plantwin_model::{DeviceId, Timestamp};

use crate::{
    AuthError, DeviceCredentials, Token,
    token::key_hash,
    wire::{self, Answer},
};

/// A device's credentials with its current token.
#[derive(Debug)]
pub struct DeviceAgent {
    credentials: DeviceCredentials,
    token: Option<Token>,
}

impl DeviceAgent {
    /// An agent without a token.
    pub const fn new(credentials: DeviceCredentials) -> Self {
        Self { credentials, token: None }
    }

    /// The device it speaks for.
    pub const fn device(&self) -> &DeviceId {
        &self.credentials.device
    }

    /// Whether its owner should fetch a new token: there is none, or half of its life is over.
    pub fn needs_token(&self, now: Timestamp) -> bool {
        self.token.as_ref().is_none_or(|token| {
            let claims = token.claims();
            now.since(claims.issued) >= claims.expires.since(claims.issued) / 2
        })
    }

    /// Takes a token that is bound to this device and key, in place of the former one.
    pub fn accept(&mut self, token: Token) -> Result<(), AuthError> {
        let claims = token.claims();
        if claims.device != self.credentials.device {
            return Err(AuthError::WrongDevice(claims.device.clone()));
        }
        if claims.zone != self.credentials.zone {
            return Err(AuthError::WrongZone);
        }
        if claims.cnf != key_hash(self.credentials.key.verifying_key().as_bytes()) {
            return Err(AuthError::WrongKey);
        }
        self.token = Some(token);
        Ok(())
    }

    /// Answers a challenge, with the proof of its key and its token.
    ///
    /// # Errors
    /// [`AuthError::Malformed`] or [`AuthError::Version`] if the bytes are no challenge,
    /// [`AuthError::NoToken`] if there is none that is still valid.
    pub fn answer(&self, challenge: &[u8], now: Timestamp) -> Result<Vec<u8>, AuthError> {
        wire::check_challenge(challenge)?;
        let valid = |token: &&Token| now < token.claims().expires;
        let token = self.token.as_ref().filter(valid).ok_or(AuthError::NoToken)?;
        let key = &self.credentials.key;
        let proof = wire::proof(challenge, &token.claims().token_id);
        Answer {
            challenge: &wire::challenge_digest(challenge),
            key: key.verifying_key().as_bytes(),
            signature: &key.sign(&proof).to_bytes(),
            token: token.as_bytes(),
        }
        .encode()
    }
}

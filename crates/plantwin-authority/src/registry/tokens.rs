//! Tokens and what gateways need; and the devices that this process plays itself.
//!
//! Nothing here is written down. The nonces of requests are remembered for as long as a request
//! may be late, but not over a restart: a request that is replayed then yields one more grant,
//! sealed for the device that signed it, and so nothing to whoever replays it. A device may ask
//! [`REQUESTS`] times in that span, which bounds the memory. Absent: who may pass requests on.

use std::time::Duration;

use plantwin_model::{DeviceId, Quality, Timestamp, ZoneId};
use plantwin_seal::{
    DIGEST_BYTES, DhKey, OriginDigest, OriginValue, Secret, derive_key, hash, origin_key,
    random_bytes, verify_origin,
};

use super::{
    Played, Registry,
    kept::Kept,
    op::{
        Actor, Admission, AuthorityReply, ClientKind, DeviceState, GatewayMaterial, OriginClaim,
        PolicyStamp,
    },
    state::{Client, halves},
};
use crate::{
    AuthError, TOKEN_LIFE,
    pws::{DevicePublic, GatewayCert, Grant, PwsToken, REQUEST_SKEW, TokenClaims, TokenRequest},
};

/// How long a gateway's certificate holds: it asks anew at half of that.
pub const GATEWAY_LIFE: Duration = Duration::from_hours(24);
/// Requests of one device within twice [`REQUEST_SKEW`]; one every five minutes is usual.
pub const REQUESTS: usize = 32;

impl Registry {
    pub(super) fn token(
        &mut self,
        request: &TokenRequest,
        gateway: &str,
        policy: PolicyStamp,
        now: Timestamp,
    ) -> Result<AuthorityReply, AuthError> {
        let (zone, public) = self.active(&request.device)?;
        request.verify(&public, gateway, now)?;
        let seen = self.nonces.entry(request.device.clone()).or_default();
        while seen.front().is_some_and(|(at, _)| now.since(*at) > 2 * REQUEST_SKEW) {
            seen.pop_front();
        }
        if seen.iter().any(|(_, nonce)| *nonce == request.nonce) {
            return Err(AuthError::Replayed);
        }
        if seen.len() >= REQUESTS {
            return Err(AuthError::RateLimited);
        }
        seen.push_back((now, request.nonce));
        self.grant(&request.device, zone, &public, gateway, policy, now)
    }

    /// For a device that fetches by hand: a person vouches for the request.
    pub(super) fn issue(
        &self,
        device: &DeviceId,
        gateway: &str,
        policy: PolicyStamp,
        now: Timestamp,
    ) -> Result<AuthorityReply, AuthError> {
        let (zone, public) = self.active(device)?;
        self.grant(device, zone, &public, gateway, policy, now)
    }

    fn grant(
        &self,
        device: &DeviceId,
        zone: ZoneId,
        public: &DevicePublic,
        gateway: &str,
        policy: PolicyStamp,
        now: Timestamp,
    ) -> Result<AuthorityReply, AuthError> {
        let client = self.gateway(gateway)?;
        let (key, cert) = self.signer(now)?;
        let caps = hash(&[
            b"plantwin v1 capabilities",
            device.as_str().as_bytes(),
            zone.as_str().as_bytes(),
            &policy.digest,
        ]);
        let claims = TokenClaims {
            token_id: random_bytes()?,
            device: device.clone(),
            zone,
            gateway: gateway.to_owned(),
            cnf: public.cnf(),
            caps,
            policy_epoch: policy.epoch,
            rev_epoch: self.state.revocation_serial,
            issued: now,
            expires: now.plus(TOKEN_LIFE),
        };
        let token = PwsToken::issue(&key, cert, claims)?;
        let gateway = self.gateway_cert(gateway, client, now)?.0;
        let grant = Grant::make(&token, client.token_secret.secret(), &public.dh, &gateway)?;
        let origin = self.origin_key(&public.cnf());
        Ok(AuthorityReply::Grant(grant.with_origin(token.claims(), &public.dh, &origin)?))
    }

    fn gateway_cert(
        &self,
        name: &str,
        client: &Client,
        now: Timestamp,
    ) -> Result<(Vec<u8>, Timestamp), AuthError> {
        let (key, cert) = self.signer(now)?;
        let end = self.state.issuer().map_or(now, |i| i.not_after);
        let not_after = now.plus(GATEWAY_LIFE).min(end);
        let body = GatewayCert { gateway: name.to_owned(), dh: client.dh, not_after };
        Ok((body.sign(&key, cert)?, not_after))
    }

    fn gateway(&self, name: &str) -> Result<&Client, AuthError> {
        let client = self.state.clients.get(name).filter(|c| c.kind == ClientKind::Gateway);
        client.ok_or_else(|| AuthError::UnknownGateway(name.to_owned()))
    }

    pub(super) fn gateway_keys(
        &self,
        name: &str,
        now: Timestamp,
    ) -> Result<AuthorityReply, AuthError> {
        let client = self.gateway(name)?;
        let (cert, not_after) = self.gateway_cert(name, client, now)?;
        Ok(AuthorityReply::GatewayKeys(GatewayMaterial {
            gateway: name.to_owned(),
            dh: client.dh_secret.clone(),
            cert,
            not_after,
            secret: client.token_secret.clone(),
            root: self.state.root,
        }))
    }

    pub(super) fn admit(
        &mut self,
        name: &str,
        kind: ClientKind,
        dh: plantwin_seal::DhPublic,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<AuthorityReply, AuthError> {
        super::devices::name(name)?;
        if self.state.clients.contains_key(name) {
            return Err(AuthError::ClientKnown(name.to_owned()));
        }
        if self.state.clients.values().any(|c| c.dh == dh) {
            return Err(AuthError::ClientKnown("with this key".to_owned()));
        }
        let psk = Kept::random()?;
        let client = Client {
            kind,
            dh,
            dh_secret: None,
            psk: psk.clone(),
            token_secret: Kept::random()?,
            since: now,
            by: actor.to_string(),
        };
        self.change().clients.insert(name.to_owned(), client);
        let authority = self.service_key().public();
        Ok(AuthorityReply::Admitted(Admission { psk, authority, root: self.state.root }))
    }

    /// A gateway in this very process: the authority makes its key, and keeps it.
    pub(crate) fn ensure_embedded(&mut self, name: &str, now: Timestamp) -> Result<(), AuthError> {
        super::devices::name(name)?;
        match self.state.clients.get(name) {
            Some(client) if client.dh_secret.is_some() => return Ok(()),
            // Somebody far away has that name.
            Some(_) => return Err(AuthError::ClientKnown(name.to_owned())),
            None => {}
        }
        let key = DhKey::generate()?;
        let client = Client {
            kind: ClientKind::Gateway,
            dh: key.public(),
            dh_secret: Some(Kept::copy_of(key.expose())),
            psk: Kept::random()?,
            token_secret: Kept::random()?,
            since: now,
            by: Actor::Plant.to_string(),
        };
        self.change().clients.insert(name.to_owned(), client);
        Ok(())
    }

    pub(super) fn dismiss(
        &mut self,
        name: &str,
        reason: &str,
    ) -> Result<AuthorityReply, AuthError> {
        super::devices::text(reason)?;
        if !self.state.clients.contains_key(name) {
            return Err(AuthError::UnknownGateway(name.to_owned()));
        }
        self.change().clients.remove(name);
        Ok(AuthorityReply::Done)
    }

    /// The key of the service's own end of a channel.
    pub(crate) fn service_key(&self) -> DhKey {
        DhKey::from_bytes(self.state.dh.expose())
    }

    /// What the device with this key hash makes digests of its values with. No gateway has it.
    pub fn origin_key(&self, cnf: &[u8; DIGEST_BYTES]) -> Secret {
        let own = derive_key("plantwin v1 origin secret", &[self.state.dh.expose()]);
        origin_key(&own, cnf)
    }

    /// Whether a value is what the device said: by its key, though revoked since, or by the one it
    /// had before. `None` if nobody knows the device.
    pub fn origin_holds(
        &self,
        device: &DeviceId,
        value: &OriginValue<'_>,
        digest: &OriginDigest,
    ) -> Option<bool> {
        let played = self.simulated.get(device).map(|played| &played.public);
        let known = || self.state.devices.get(device).map(|known| &known.public);
        let present = played.or_else(known)?.cnf();
        let mut keys = [Some(&present), self.former.get(device)].into_iter().flatten();
        Some(keys.any(|cnf| verify_origin(&self.origin_key(cnf), value, digest).is_ok()))
    }

    /// Whether a value is what its device said.
    pub(super) fn check(&self, claim: &OriginClaim) -> Option<bool> {
        let said = |quality| OriginValue {
            device: claim.device.as_str(),
            point: &claim.point,
            unit: &claim.unit,
            sequence: claim.sequence,
            source_time: claim.source_time,
            quality,
            value: f64::from_bits(claim.value_bits),
        };
        let holds = |quality| self.origin_holds(&claim.device, &said(quality), &claim.digest);
        Some(holds(claim.quality)? || holds(Quality::Good)?)
    }

    /// Who shows this key: name, kind and the pre-shared key of the channel.
    pub(crate) fn client_of(
        &self,
        dh: &plantwin_seal::DhPublic,
    ) -> Option<(&str, ClientKind, &Kept)> {
        let (name, client) = self.state.clients.iter().find(|(_, c)| c.dh == *dh)?;
        Some((name, client.kind, &client.psk))
    }

    /// Zone and key of a device that may have tokens. One that is played stands before the real
    /// one of that name: while a plant plays it, the real one has no place in it.
    fn active(&self, device: &DeviceId) -> Result<(ZoneId, DevicePublic), AuthError> {
        if let Some(played) = self.simulated.get(device) {
            return if played.revoked {
                Err(AuthError::Revoked)
            } else {
                Ok((played.zone.clone(), played.public))
            };
        }
        let known = self.state.devices.get(device);
        let known = known.ok_or_else(|| AuthError::UnknownDevice(device.clone()))?;
        match known.state {
            DeviceState::Active | DeviceState::Simulated => Ok((known.zone.clone(), known.public)),
            DeviceState::Revoked => Err(AuthError::Revoked),
            DeviceState::Pending => Err(AuthError::NotApproved(device.clone())),
        }
    }

    /// Knows a device that this process plays, until it ends; nothing is written down.
    ///
    /// # Errors
    /// [`AuthError::AlreadyEnrolled`] if it is played already, [`AuthError::KeyInUse`].
    pub fn enrol_simulated(
        &mut self,
        device: &DeviceId,
        zone: &ZoneId,
        public: DevicePublic,
        now: Timestamp,
    ) -> Result<(), AuthError> {
        if self.simulated.get(device).is_some_and(|played| !played.revoked) {
            return Err(AuthError::AlreadyEnrolled(device.clone()));
        }
        self.check_free(device, &public)?;
        for half in halves(&public) {
            self.played_keys.insert(half, device.clone());
        }
        let played = Played { zone: zone.clone(), public, since: now, revoked: false };
        self.simulated.insert(device.clone(), played);
        Ok(())
    }
}

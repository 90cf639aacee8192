//! Devices come and go: invitation, request, approval, a new key, revocation.
//!
//! What holds whatever is asked in whatever order: a device has at most one active key, either half
//! of a key belongs to one device, and a revoked key never comes back. Absent: tokens.

use std::time::Duration;

use plantwin_model::{DeviceId, Timestamp, ZoneId};

use super::{
    Registry,
    kept::Kept,
    op::{Actor, AuthorityReply, DeviceState, EnrolStatus, VoucherView},
    rekey::RekeyRequest,
    state::{Device, Voucher, halves},
    voucher::VoucherCode,
};
use crate::{
    AuthError,
    pws::{DevicePublic, EnrolRequest},
};

/// How long a voucher is good for unless somebody says otherwise.
pub const VOUCHER_LIFE: Duration = Duration::from_mins(15);
/// The longest that one may be good for.
pub const VOUCHER_LIFE_LIMIT: Duration = Duration::from_hours(24);
/// Longest name of a device, zone, gateway or person, and longest reason, in bytes.
pub const TEXT_LIMIT: usize = 128;
/// Vouchers that may be open at once: an engineer's script that goes wild ends here.
const VOUCHERS: usize = 100_000;

impl Registry {
    pub(super) fn invite(
        &mut self,
        device: DeviceId,
        zone: ZoneId,
        valid: Option<Duration>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<AuthorityReply, AuthError> {
        name(device.as_str())?;
        name(zone.as_str())?;
        let valid = valid.unwrap_or(VOUCHER_LIFE);
        if valid.is_zero() || valid > VOUCHER_LIFE_LIMIT {
            return Err(AuthError::VoucherLife);
        }
        if self.state.devices.get(&device).is_some_and(|d| d.state == DeviceState::Active) {
            return Err(AuthError::AlreadyEnrolled(device));
        }
        if self.state.vouchers.len() >= VOUCHERS {
            return Err(AuthError::RateLimited);
        }
        let code = VoucherCode::generate(&self.root()?)?;
        let expires = now.plus(valid);
        let view = VoucherView {
            code: code.to_string(),
            device: device.clone(),
            zone: zone.clone(),
            expires,
            root: self.state.root,
        };
        let (shown, by) = (code.voucher(), actor.to_string());
        let proof_key = Kept::new(shown.secret);
        let voucher = Voucher { proof_key, device, zone, expires, by, used: None };
        self.change().vouchers.insert(shown.id, voucher);
        Ok(AuthorityReply::Voucher(view))
    }

    pub(super) fn enrol(
        &mut self,
        request: &EnrolRequest,
        now: Timestamp,
    ) -> Result<AuthorityReply, AuthError> {
        let id = request.voucher_id;
        let voucher = self.state.vouchers.get(&id).ok_or(AuthError::VoucherUnknown)?;
        // First the proof: who does not hold the voucher learns nothing of what it is for.
        request.verify(voucher.proof_key.secret())?;
        if voucher.device != request.device || voucher.zone != request.zone {
            return Err(AuthError::VoucherBound);
        }
        let cnf = request.public.cnf();
        match voucher.used {
            // The device asks again, to hear how it stands.
            Some(used) if used == cnf => return self.standing(&request.device, &cnf),
            Some(_) => return Err(AuthError::VoucherUsed),
            None if now > voucher.expires => return Err(AuthError::VoucherExpired),
            None => {}
        }
        let by = voucher.by.clone();
        match self.state.devices.get(&request.device).map(|d| d.state) {
            Some(DeviceState::Active) => {
                return Err(AuthError::AlreadyEnrolled(request.device.clone()));
            }
            // It was invited anew before anybody approved: the earlier key is forgotten.
            Some(DeviceState::Pending) => self.release(&request.device),
            _ => {}
        }
        self.check_free(&request.device, &request.public)?;
        if let Some(known) = self.state.devices.get(&request.device) {
            self.former.insert(request.device.clone(), known.public.cnf());
        }
        let state = self.change();
        for half in halves(&request.public) {
            state.owners.insert(half, request.device.clone());
        }
        if let Some(voucher) = state.vouchers.get_mut(&id) {
            voucher.used = Some(cnf);
        }
        let device = Device {
            zone: request.zone.clone(),
            public: request.public,
            state: DeviceState::Pending,
            since: now,
            by,
            reason: None,
        };
        state.devices.insert(request.device.clone(), device);
        Ok(AuthorityReply::Enrolment(EnrolStatus::Pending {
            fingerprint: request.public.fingerprint(),
        }))
    }

    /// How it stands with the key that used a voucher.
    fn standing(&self, device: &DeviceId, cnf: &[u8; 32]) -> Result<AuthorityReply, AuthError> {
        if self.state.revoked.contains(cnf) {
            return Err(AuthError::Revoked);
        }
        let known = self.state.devices.get(device).filter(|d| d.public.cnf() == *cnf);
        let known = known.ok_or(AuthError::EnrolmentRefused)?;
        let fingerprint = known.public.fingerprint();
        match known.state {
            DeviceState::Pending => {
                Ok(AuthorityReply::Enrolment(EnrolStatus::Pending { fingerprint }))
            }
            DeviceState::Active | DeviceState::Simulated => {
                Ok(AuthorityReply::Enrolment(EnrolStatus::Active { fingerprint }))
            }
            DeviceState::Revoked => Err(AuthError::Revoked),
        }
    }

    pub(super) fn approve(
        &mut self,
        device: &DeviceId,
        fingerprint: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<AuthorityReply, AuthError> {
        let waits = self.pending(device)?.public.fingerprint();
        if bare(&waits) != bare(fingerprint) {
            return Err(AuthError::FingerprintDiffers(device.clone()));
        }
        if let Some(known) = self.change().devices.get_mut(device) {
            known.state = DeviceState::Active;
            known.since = now;
            known.by = actor.to_string();
        }
        Ok(AuthorityReply::Enrolment(EnrolStatus::Active { fingerprint: waits }))
    }

    pub(super) fn refuse(&mut self, device: &DeviceId) -> Result<AuthorityReply, AuthError> {
        self.pending(device)?;
        self.release(device);
        Ok(AuthorityReply::Done)
    }

    pub(super) fn rekey(
        &mut self,
        request: &RekeyRequest,
        now: Timestamp,
    ) -> Result<AuthorityReply, AuthError> {
        let device = &request.device;
        let known = self.state.devices.get(device);
        let known = known.ok_or_else(|| AuthError::UnknownDevice(device.clone()))?;
        match known.state {
            DeviceState::Active => request.verify(&known.public)?,
            DeviceState::Revoked => return Err(AuthError::Revoked),
            _ => return Err(AuthError::NotApproved(device.clone())),
        }
        self.check_free(device, &request.public)?;
        let before = known.public.cnf();
        self.burn(device);
        self.former.insert(device.clone(), before);
        let state = self.change();
        for half in halves(&request.public) {
            state.owners.insert(half, device.clone());
        }
        if let Some(known) = state.devices.get_mut(device) {
            known.public = request.public;
            known.since = now;
            known.by = format!("device:{device}");
        }
        let fingerprint = request.public.fingerprint();
        Ok(AuthorityReply::Enrolment(EnrolStatus::Active { fingerprint }))
    }

    pub(super) fn revoke(
        &mut self,
        device: &DeviceId,
        reason: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<AuthorityReply, AuthError> {
        text(reason)?;
        // A played device stands before the real one of that name, as it does for tokens.
        if let Some(played) = self.simulated.get_mut(device) {
            played.revoked = true;
            let cnf = played.public.cnf();
            let state = self.change();
            if state.revoked.insert(cnf) {
                state.revocation_serial += 1;
            }
            return Ok(AuthorityReply::Done);
        }
        match self.state.devices.get(device).map(|d| d.state) {
            None => return Err(AuthError::UnknownDevice(device.clone())),
            // Once more does no harm, and who revoked it first and why stays on record.
            Some(DeviceState::Revoked) => return Ok(AuthorityReply::Done),
            Some(_) => {}
        }
        self.burn(device);
        if let Some(known) = self.change().devices.get_mut(device) {
            known.state = DeviceState::Revoked;
            known.since = now;
            known.by = actor.to_string();
            known.reason = Some(reason.to_owned());
        }
        Ok(AuthorityReply::Done)
    }

    fn pending(&self, device: &DeviceId) -> Result<&Device, AuthError> {
        let known = self.state.devices.get(device);
        let known = known.ok_or_else(|| AuthError::UnknownDevice(device.clone()))?;
        if known.state == DeviceState::Pending {
            Ok(known)
        } else {
            Err(AuthError::NotPending(device.clone()))
        }
    }

    /// Forgets a request that was never approved; its key may be used again.
    fn release(&mut self, device: &DeviceId) {
        let state = self.change();
        if let Some(gone) = state.devices.remove(device) {
            for half in halves(&gone.public) {
                state.owners.remove(&half);
            }
        }
    }

    /// Makes the key of a device worthless for ever.
    fn burn(&mut self, device: &DeviceId) {
        let state = self.change();
        let Some(known) = state.devices.get(device) else { return };
        let (halves, cnf) = (halves(&known.public), known.public.cnf());
        for half in halves {
            state.owners.remove(&half);
            state.burnt.insert(half);
        }
        if state.revoked.insert(cnf) {
            state.revocation_serial += 1;
        }
    }

    /// Whether a device may have a key: nobody has, or had, either half of it.
    pub(super) fn check_free(
        &self,
        device: &DeviceId,
        public: &DevicePublic,
    ) -> Result<(), AuthError> {
        let taken = |half: &[u8; 32]| {
            self.state.burnt.contains(half)
                || self.state.owners.contains_key(half)
                || self.played_keys.contains_key(half)
        };
        let [sign, dh] = halves(public);
        // One key in both places would let a signature stand for a secret.
        if sign == dh || taken(&sign) || taken(&dh) || self.state.revoked.contains(&public.cnf()) {
            return Err(AuthError::KeyInUse(device.clone()));
        }
        Ok(())
    }
}

/// A fingerprint as it is compared: people leave out dashes and mix cases.
pub(super) fn bare(fingerprint: &str) -> String {
    fingerprint
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// A name that may stand in a token, in an audit record and on a screen.
pub(super) fn name(text: &str) -> Result<(), AuthError> {
    let fits = !text.is_empty() && text.len() <= TEXT_LIMIT;
    if fits && text.chars().all(|c| c.is_alphanumeric() || "._-".contains(c)) {
        Ok(())
    } else {
        Err(AuthError::BadName)
    }
}

/// A reason that a person gives.
pub(super) fn text(text: &str) -> Result<(), AuthError> {
    if text.len() <= TEXT_LIMIT && !text.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(AuthError::BadText)
    }
}

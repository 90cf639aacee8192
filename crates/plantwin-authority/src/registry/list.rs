//! What the registry shows: all but secrets.
//!
//! Absent: how it looks on a screen.

use plantwin_model::Timestamp;

use super::{
    Registry,
    op::{ClientView, DeviceState, DeviceView, Listing, OpenVoucher},
};
use crate::pws::fingerprint;

impl Registry {
    /// All that is no secret, at this time.
    pub fn listing(&self, now: Timestamp) -> Listing {
        let state = &self.state;
        let known = state.devices.iter().filter(|(id, _)| !self.simulated.contains_key(*id));
        let mut devices: Vec<DeviceView> = known
            .map(|(id, device)| DeviceView {
                device: id.clone(),
                zone: device.zone.clone(),
                state: device.state,
                fingerprint: device.public.fingerprint(),
                since: device.since,
                by: device.by.clone(),
                reason: device.reason.clone(),
            })
            .collect();
        devices.extend(self.simulated.iter().map(|(id, played)| DeviceView {
            device: id.clone(),
            zone: played.zone.clone(),
            state: if played.revoked { DeviceState::Revoked } else { DeviceState::Simulated },
            fingerprint: played.public.fingerprint(),
            since: played.since,
            by: "plantwin".to_owned(),
            reason: None,
        }));
        devices.sort_by(|a, b| a.device.cmp(&b.device));
        let open = state.vouchers.values().filter(|v| v.used.is_none() && now <= v.expires);
        let issuer = state.issuer();
        Listing {
            root: fingerprint(&plantwin_seal::hash(&[b"plantwin v1 root key", &state.root])),
            root_is_here: state.root_seed.is_some(),
            issuer_serial: issuer.map_or(0, |i| i.serial),
            issuer_expires: issuer.map_or(Timestamp(0), |i| i.not_after),
            issuers_before: state
                .issuers
                .iter()
                .filter_map(|i| Some((i.serial, i.retires?)))
                .collect(),
            devices,
            vouchers: open
                .map(|v| OpenVoucher {
                    device: v.device.clone(),
                    zone: v.zone.clone(),
                    expires: v.expires,
                    by: v.by.clone(),
                })
                .collect(),
            clients: state
                .clients
                .iter()
                .map(|(name, client)| ClientView {
                    name: name.clone(),
                    kind: client.kind,
                    since: client.since,
                    by: client.by.clone(),
                })
                .collect(),
            revocation_serial: state.revocation_serial,
            revoked: (state.revoked.len() + state.retired.len()) as u64,
        }
    }
}

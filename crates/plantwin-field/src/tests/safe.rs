//! A device and a gateway that was dismissed: beyond its token's end the device brings itself to its
//! own safe state, and does nothing else for whoever asks.

use plantwin_authority::{
    native::{self, NativeAnswer, NativeRequest},
    pws::{
        AuthorityNeed, DeviceIdentity, DeviceKeys, Gateway, GatewayCert, GatewayCredential,
        GatewaySession, Grant, IssuerCert, Purpose, PwsToken, Revoked, Step, TOKEN_LIFE,
        TokenClaims, Withheld,
    },
};
use plantwin_model::{NoAudit, PointSpec};
use plantwin_seal::{DhKey, Secret, SigningKey};

use super::*;
use crate::NativeDevice;

const START: Timestamp = Timestamp::from_millis(1_000_000);
/// The cart's drive, which stands still when it is safe, and its place, which nobody drives to.
const DRIVE: PointIx = PointIx(1);
const PLACE: PointIx = PointIx(0);

struct Bench {
    gateway: Arc<Gateway>,
    device: NativeDevice,
    issuer: SigningKey,
    cert: Vec<u8>,
    credential: GatewayCredential,
    keys: DeviceKeys,
    written: Vec<(PointIx, f64)>,
}

impl Bench {
    fn new() -> Self {
        let day = START.plus(Duration::from_hours(24));
        let (root, issuer) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let cert = IssuerCert::sign(&root, issuer.verifying_key(), 1, START, day).to_bytes();
        let (dh, secret) = (DhKey::generate().unwrap(), Secret::random().unwrap());
        let certificate = GatewayCert { gateway: "hall".into(), dh: dh.public(), not_after: day }
            .sign(&issuer, &cert)
            .unwrap();
        let credential = GatewayCredential { dh, certificate, secret };
        let root = root.verifying_key();
        let (held, revoked, audit) = (credential.clone(), Revoked::default(), Arc::new(NoAudit));
        let gateway = Gateway::new(root, held, revoked, audit, START).unwrap();
        let keys = DeviceKeys::generate().unwrap();
        let (device, zone) = ("cart1".into(), "field".into());
        let me = DeviceIdentity { device, zone, keys: keys.clone(), root, voucher: None };
        let mut points: Vec<PointSpec> = cart().devices[0].kind.points.clone();
        points[DRIVE.index()].safe = Some(0.0);
        let device = NativeDevice::new(me, points.into(), false);
        let cert = cert.to_vec();
        Self { gateway, device, issuer, cert, credential, keys, written: Vec::new() }
    }

    /// Begins a session, with an authority or, as the gateway says, without one.
    fn join(&mut self, now: Timestamp, away: bool) -> GatewaySession {
        let (device, zone) = ("cart1".into(), "field".into());
        let (mut handshake, mut question) = self.gateway.begin(&device, &zone, "", now).unwrap();
        loop {
            let answer = self.device.on_exchange(&question, now, |_| panic!("a write")).unwrap();
            question = match handshake.on_answer(&answer.bytes, now) {
                Step::Send(bytes) => bytes,
                Step::Ask(AuthorityNeed::Token(_)) if away => {
                    handshake.withheld(Withheld::Away).unwrap()
                }
                Step::Ask(AuthorityNeed::Token(_)) => handshake.granted(self.grant(now)).unwrap(),
                Step::Up(session) => return *session,
                other => panic!("{other:?}"),
            };
        }
    }

    fn grant(&self, now: Timestamp) -> Grant {
        let public = self.keys.public();
        let claims = TokenClaims {
            token_id: [1; 16],
            device: "cart1".into(),
            zone: "field".into(),
            gateway: "hall".into(),
            cnf: public.cnf(),
            caps: [0; 32],
            policy_epoch: 1,
            rev_epoch: 0,
            issued: now,
            expires: now.plus(TOKEN_LIFE),
        };
        let token = PwsToken::issue(&self.issuer, &self.cert, claims).unwrap();
        let GatewayCredential { secret, certificate, .. } = &self.credential;
        Grant::make(&token, secret, &public.dh, certificate).unwrap()
    }

    fn make_safe(
        &mut self,
        session: &mut GatewaySession,
        writes: &[(PointIx, f64)],
        now: Timestamp,
    ) -> NativeAnswer {
        let layout = native::layout(&cart().devices[0].kind.points);
        let request = NativeRequest::MakeSafe { layout, writes: writes.to_vec() };
        let bytes = native::to_bytes(&request);
        let (number, request) = session.seal_request(Purpose::Safety, &bytes, now).unwrap();
        let written = &mut self.written;
        let said = self.device.on_exchange(&request, now, |writes| {
            written.extend(writes);
            Ok(())
        });
        let answer = session.open_answer(number, &said.unwrap().bytes, now).unwrap();
        native::from_bytes(&answer).unwrap()
    }
}

/// What the device answers when it is told that these are its safe state.
fn check(bench: &mut Bench, session: &mut GatewaySession, now: Timestamp) {
    for (point, value, why) in [
        (DRIVE, 10.0, "10 V is not the safe value of drive, which is 0 V here"),
        (PLACE, 0.0, "place has no safe value here"),
    ] {
        let answer = bench.make_safe(session, &[(DRIVE, 0.0), (point, value)], now);
        let NativeAnswer::Refused(reason) = answer else { panic!("{point:?} went to {value}") };
        assert!(reason.starts_with(why), "{reason}");
        assert!(bench.written.is_empty(), "all or nothing");
    }
    assert_eq!(bench.make_safe(session, &[(DRIVE, 0.0)], now), NativeAnswer::Done);
    assert_eq!(std::mem::take(&mut bench.written), [(DRIVE, 0.0)]);
}

#[test]
fn nothing_but_its_own_safe_state_is_done_in_its_name_also_when_the_token_is_over() {
    let mut bench = Bench::new();
    let mut session = bench.join(START, false);
    check(&mut bench, &mut session, START);
    let now = START.plus(TOKEN_LIFE + Duration::from_mins(30));
    let mut session = bench.join(now, true);
    assert!(session.is_grace());
    check(&mut bench, &mut session, now);
}

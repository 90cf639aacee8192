//! One device that runs by itself: whose hub it joins, what it says while it has no session.

use std::sync::Mutex;

use futures_util::future::BoxFuture;
use plantwin_adapter::{
    Connection, DeviceMessage, DevicePort, Host, HostRequest, HostedDevice, Hub, LinkContext,
    LinkError, Measurement, Outlet, Protocol, Registry, SystemClock, Tasks, Traffic,
};
use plantwin_authority::{
    AuthError,
    pws::{
        AgentEvent, DeviceIdentity, DeviceKeys, Gateway, GatewayCert, GatewayCredential, Grant,
        IssuerCert, PwsToken, Revoked, Step, TokenClaims,
    },
};
use plantwin_model::{Clock, DeviceId, Timestamp};
use plantwin_seal::{DhKey, Secret, SigningKey};
use tokio::sync::oneshot;

use super::*;
use crate::{Field, FieldError, FieldRequest, NativeDevice, Report};

/// The device that came, and where it is asked.
type Joined = Option<(String, mpsc::Sender<DeviceMessage>)>;

/// A protocol with a hub, which hands over what is played on it.
#[derive(Clone)]
struct Wire {
    /// What devices sent: `None` for a bare value.
    sent: mpsc::Sender<Option<Vec<u8>>>,
    /// The hub that was joined, and the device's ear.
    joined: Arc<Mutex<Joined>>,
}

impl Protocol for Wire {
    fn schema(&self) -> &'static ProtocolSchema {
        &WIRE
    }

    fn connect(&self, _: LinkContext) -> BoxFuture<'static, Result<Connection, LinkError>> {
        Box::pin(async { Err(LinkError::Unsupported("links".to_owned())) })
    }

    fn start_hub(
        &self,
        _: Option<std::net::SocketAddr>,
        _: Vec<HostedDevice>,
    ) -> Option<BoxFuture<'static, Result<Hub, LinkError>>> {
        Some(Box::pin(async { Err(LinkError::Closed("somebody started a hub".to_owned())) }))
    }

    fn host(&self, request: HostRequest) -> BoxFuture<'static, Result<Host, LinkError>> {
        let wire = self.clone();
        Box::pin(async move {
            let hub = request.hub.expect("it has a hub");
            let mut devices = Vec::new();
            for hosted in request.devices {
                assert!(hosted.sealed);
                let (ask, requests) = mpsc::channel(4);
                *wire.joined.lock().unwrap() = Some((hub.clone(), ask));
                devices.push(DevicePort {
                    device: hosted.device,
                    outlet: Box::new(WireOutlet(wire.sent.clone())),
                    requests,
                    traffic: Arc::new(Traffic::default()),
                });
            }
            let address = hub.parse().expect("an address");
            Ok(Host { address, devices, tasks: Tasks::new() })
        })
    }
}

struct WireOutlet(mpsc::Sender<Option<Vec<u8>>>);

impl Outlet for WireOutlet {
    fn publish<'a>(&'a mut self, _: &'a Measurement) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async {
            // Nobody listens once the test is over.
            let _ = self.0.send(None).await;
            Ok(())
        })
    }

    fn publish_sealed<'a>(
        &'a mut self,
        envelope: &'a [u8],
    ) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async {
            let _ = self.0.send(Some(envelope.to_vec())).await;
            Ok(())
        })
    }

    fn set_up(&mut self, _: bool) -> BoxFuture<'_, Result<(), LinkError>> {
        Box::pin(async { Ok(()) })
    }
}

/// The cart as a device with keys, in a plant whose hub listens there.
fn native(hub: Option<&str>) -> PlantSpec {
    let mut text =
        CART.replace("[device.cart1.wire]", "identity = \"native\"\n[device.cart1.wire]");
    if let Some(hub) = hub {
        text += "[listen]\nwire = \"";
        text += hub;
        text += "\"\n";
    }
    let catalog = Catalog { protocols: &[&WIRE], ..Catalog::default() };
    let checked = read_plant("cart.toml", &text, &catalog, &ReadOptions::default());
    checked.into_plant().unwrap()
}

fn who() -> DeviceIdentity {
    DeviceIdentity {
        device: "cart1".into(),
        zone: "field".into(),
        keys: DeviceKeys::generate().unwrap(),
        root: SigningKey::generate().unwrap().verifying_key(),
        voucher: None,
    }
}

fn request(plant: PlantSpec, wire: &Wire) -> FieldRequest {
    let me = who();
    FieldRequest {
        plant: Arc::new(plant),
        registry: Registry::new().with(wire.clone()),
        clock: Arc::new(SystemClock::new(1.0)),
        identities: Arc::new(move |_, _| Ok(me.clone())),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_by_itself_joins_the_plants_hub_says_that_it_waits_and_tells_what_it_refused() {
    let (sent, mut heard) = mpsc::channel(4);
    let wire = Wire { sent, joined: Arc::default() };
    let (tell, mut told) = mpsc::channel(4);
    let report: Arc<Report> = Arc::new(move |device: &DeviceId, event| {
        // The test waits for the first only.
        let _ = tell.try_send((device.clone(), event));
    });
    let request = request(native(Some("127.0.0.1:1883")), &wire);
    let field = Field::start_alone(request, None, report).await.unwrap();
    assert_eq!(field.endpoints, [], "no server of its own");
    let (hub, ask) = wire.joined.lock().unwrap().clone().expect("it joined");
    assert_eq!(hub, "127.0.0.1:1883");

    let patience = Duration::from_secs(20);
    let first = tokio::time::timeout(patience, heard.recv()).await.unwrap().unwrap();
    assert_eq!(first.as_deref(), Some(NativeDevice::WAITING), "never a bare value");
    let (reply, answer) = oneshot::channel();
    ask.send(DeviceMessage::Exchange { request: b"who are you?".to_vec(), reply }).await.unwrap();
    assert!(tokio::time::timeout(patience, answer).await.unwrap().unwrap().is_ok());
    let (device, event) = tokio::time::timeout(patience, told.recv()).await.unwrap().unwrap();
    assert_eq!(device.as_str(), "cart1");
    assert!(matches!(event, AgentEvent::Refused(AuthError::Malformed(_))), "{event:?}");
}

/// A gateway and a grant for the cart, which somebody fetched by hand.
fn granted(me: &DeviceIdentity, root: &SigningKey, now: Timestamp) -> (Arc<Gateway>, Grant) {
    let hour = now.plus(Duration::from_hours(1));
    let issuer = SigningKey::generate().unwrap();
    let cert = IssuerCert::sign(root, issuer.verifying_key(), 1, now, hour).to_bytes();
    let (dh, secret) = (DhKey::generate().unwrap(), Secret::random().unwrap());
    let certificate = GatewayCert { gateway: "hall".into(), dh: dh.public(), not_after: hour };
    let certificate = certificate.sign(&issuer, &cert).unwrap();
    let public = me.keys.public();
    let claims = TokenClaims {
        token_id: [1; 16],
        device: me.device.clone(),
        zone: me.zone.clone(),
        gateway: "hall".to_owned(),
        cnf: public.cnf(),
        caps: [0; 32],
        policy_epoch: 1,
        rev_epoch: 0,
        issued: now,
        expires: now.plus(Duration::from_mins(10)),
    };
    let token = PwsToken::issue(&issuer, &cert, claims).unwrap();
    let grant = Grant::make(&token, &secret, &public.dh, &certificate).unwrap();
    let credential = GatewayCredential { dh, certificate, secret };
    let (known, audit) = (Revoked::default(), Arc::new(plantwin_model::NoAudit));
    let gateway = Gateway::new(root.verifying_key(), credential, known, audit, now).unwrap();
    (gateway, grant)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_came_by_hand_makes_a_session_without_asking_for_a_token() {
    let wire = Wire { sent: mpsc::channel(4).0, joined: Arc::default() };
    let root = SigningKey::generate().unwrap();
    let mut me = who();
    me.root = root.verifying_key();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
    let (gateway, grant) = granted(&me, &root, clock.now());
    let (tell, mut told) = mpsc::channel(4);
    let report: Arc<Report> = Arc::new(move |_: &DeviceId, event| {
        // The test waits for as many as there is room for.
        let _ = tell.try_send(event);
    });
    let request = FieldRequest {
        clock: Arc::clone(&clock),
        identities: Arc::new(move |_, _| Ok(me.clone())),
        ..request(native(Some("127.0.0.1:1883")), &wire)
    };
    let _field = Field::start_alone(request, Some(grant), report).await.unwrap();
    let (_, ask) = wire.joined.lock().unwrap().clone().expect("it joined");
    let (cart, zone) = ("cart1".into(), "field".into());
    let (mut handshake, mut question) = gateway.begin(&cart, &zone, "", clock.now()).unwrap();
    let patience = Duration::from_secs(20);
    let session = loop {
        let (reply, answer) = oneshot::channel();
        ask.send(DeviceMessage::Exchange { request: question, reply }).await.unwrap();
        let answer = tokio::time::timeout(patience, answer).await.unwrap().unwrap().unwrap();
        question = match handshake.on_answer(&answer, clock.now()) {
            Step::Send(bytes) => bytes,
            Step::Up(session) => break session,
            other => panic!("{other:?}"),
        };
    };
    let first = tokio::time::timeout(patience, told.recv()).await.unwrap().unwrap();
    assert!(matches!(first, AgentEvent::TokenTaken { .. }), "{first:?}");
    let second = tokio::time::timeout(patience, told.recv()).await.unwrap().unwrap();
    assert!(matches!(second, AgentEvent::SessionUp { gateway, .. } if gateway == "hall"));
    assert_ne!(session.number(), 0);
}

#[tokio::test]
async fn a_device_by_itself_without_a_hub_says_so_and_starts_none() {
    let wire = Wire { sent: mpsc::channel(4).0, joined: Arc::default() };
    let alone = Field::start_alone(request(native(None), &wire), None, Arc::new(|_: &_, _| {}));
    let Err(error) = alone.await else { panic!("it has no hub") };
    assert!(matches!(error, FieldError::NoHub(_)), "{error}");
    assert!(wire.joined.lock().unwrap().is_none());
}

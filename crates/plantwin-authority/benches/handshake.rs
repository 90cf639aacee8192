//! Ten thousand devices prove anew who they are: handshakes with a fresh token each, both sides and
//! the authority on this machine.
//!
//! Run with `cargo bench -p plantwin-authority --bench handshake`; with `-- 1000` for as many
//! devices. Without `--bench` (as `cargo test` runs it) it takes 20 devices and judges no time.
//! The goal is 30 s on two threads. It is judged by processor time,
//! so that a machine that is busy with other things tells the truth too; wall time stands beside
//! it. Say the CPU and the build flags beside every figure. Absent: sockets, the authority's disk.

use std::{
    env, fs,
    process::ExitCode,
    sync::{Arc, LazyLock},
    thread,
    time::{Duration, Instant},
};

use plantwin_authority::{
    AuthError, TOKEN_LIFE,
    pws::{
        Agent, Answer, AuthorityNeed, DeviceIdentity, DeviceKeys, DevicePublic, Gateway,
        GatewayCert, GatewayCredential, GatewaySession, Grant, IssuerCert, PwsToken, Revoked, Step,
        TokenClaims, TokenRequest,
    },
};
use plantwin_model::{NoAudit, Timestamp};
use plantwin_seal::{DhKey, Secret, SigningKey, random_bytes};

const THREADS: usize = 2;
const GOAL: Duration = Duration::from_secs(30);
const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const GATEWAY: &str = "hall";

/// Time spent by each party.
#[derive(Clone, Copy, Default)]
struct Spent {
    all: Duration,
    device: Duration,
    gateway: Duration,
    authority: Duration,
}

struct Plant {
    issuer: SigningKey,
    cert: [u8; 120],
    root: SigningKey,
    credential: GatewayCredential,
    gateway: Arc<Gateway>,
}

impl Plant {
    fn new() -> Result<Self, AuthError> {
        let (root, issuer) = (SigningKey::generate()?, SigningKey::generate()?);
        let end = NOW.plus(Duration::from_hours(24));
        let cert = IssuerCert::sign(&root, issuer.verifying_key(), 1, NOW, end).to_bytes();
        let dh = DhKey::generate()?;
        let certificate = GatewayCert { gateway: GATEWAY.into(), dh: dh.public(), not_after: end }
            .sign(&issuer, &cert)?;
        let credential = GatewayCredential { dh, certificate, secret: Secret::random()? };
        let (audit, revoked) = (Arc::new(NoAudit), Revoked::default());
        let gateway = Gateway::new(root.verifying_key(), credential.clone(), revoked, audit, NOW)?;
        Ok(Self { issuer, cert, root, credential, gateway })
    }

    fn device(&self, number: usize) -> Result<(Agent, DevicePublic), AuthError> {
        let keys = DeviceKeys::generate()?;
        let public = keys.public();
        let agent = Agent::new(DeviceIdentity {
            device: (*format!("device{number}")).into(),
            zone: "field".into(),
            keys,
            root: self.root.verifying_key(),
            voucher: None,
        });
        Ok((agent, public))
    }

    fn grant(&self, request: TokenRequest, public: &DevicePublic) -> Result<Grant, AuthError> {
        request.verify(public, GATEWAY, NOW)?;
        let claims = TokenClaims {
            token_id: random_bytes()?,
            device: request.device,
            zone: "field".into(),
            gateway: request.gateway,
            cnf: request.cnf,
            caps: [0; 32],
            policy_epoch: 1,
            rev_epoch: 1,
            issued: NOW,
            expires: NOW.plus(TOKEN_LIFE),
        };
        let token = PwsToken::issue(&self.issuer, &self.cert, claims)?;
        let GatewayCredential { secret, certificate, .. } = &self.credential;
        Grant::make(&token, secret, &public.dh, certificate)
    }

    /// The whole start of a session, token included.
    fn connect(
        &self,
        agent: &mut Agent,
        public: &DevicePublic,
        spent: &mut Spent,
    ) -> Result<GatewaySession, AuthError> {
        let zone = "field".into();
        let device = agent.device().clone();
        let begun = timed(&mut spent.gateway, || self.gateway.begin(&device, &zone, "", NOW));
        let (mut handshake, mut question) = begun?;
        loop {
            let answer = timed(&mut spent.device, || agent.on_exchange(&question, NOW));
            let Answer::Send { bytes, .. } = answer else { return Err(AuthError::Unexpected) };
            question = match timed(&mut spent.gateway, || handshake.on_answer(&bytes, NOW)) {
                Step::Send(bytes) => bytes,
                Step::Ask(AuthorityNeed::Token(request)) => {
                    let grant = timed(&mut spent.authority, || self.grant(request, public))?;
                    handshake.granted(grant)?
                }
                Step::Up(session) => return Ok(*session),
                Step::Failed(error) => return Err(error),
                Step::Ask(AuthorityNeed::Enrol(_)) | Step::Later => {
                    return Err(AuthError::Unexpected);
                }
            };
        }
    }
}

/// Processor time of this thread, as Linux counts it (to a scheduler's tick, so it takes thousands
/// of pieces for a mean); wall time elsewhere.
fn now() -> Duration {
    let ran = fs::read_to_string("/proc/thread-self/schedstat");
    let ran = ran.ok().and_then(|text| text.split(' ').next()?.parse().ok());
    ran.map_or_else(wall, Duration::from_nanos)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn wall() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

fn timed<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let begun = now();
    let done = work();
    *total += now().saturating_sub(begun);
    done
}

fn run(count: usize, judged: bool) -> Result<bool, AuthError> {
    let plant = Plant::new()?;
    let mut devices =
        (0..count).map(|number| plant.device(number)).collect::<Result<Vec<_>, _>>()?;
    let begun = wall();
    let results = thread::scope(|scope| {
        let workers: Vec<_> = devices
            .chunks_mut(count.div_ceil(THREADS))
            .map(|part| {
                let plant = &plant;
                scope.spawn(move || {
                    let (mut spent, mut sessions) = (Spent::default(), Vec::new());
                    let begun = now();
                    for (agent, public) in part {
                        sessions.push(plant.connect(agent, public, &mut spent)?);
                    }
                    spent.all = now().saturating_sub(begun);
                    Ok::<_, AuthError>((spent, sessions))
                })
            })
            .collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).collect::<Vec<_>>()
    });
    let wall = wall().saturating_sub(begun);
    let (mut spent, mut sessions) = (Spent::default(), 0);
    for result in results {
        let (part, up) = result?;
        sessions += up.len();
        spent.all += part.all;
        spent.device += part.device;
        spent.gateway += part.gateway;
        spent.authority += part.authority;
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    let threads = spent.all.as_secs_f64() / THREADS as f64;
    println!("{sessions} of {count} devices with a fresh token and session, {THREADS} threads");
    println!("processor time a thread {threads:>9.2} s (goal for 10000: {} s)", GOAL.as_secs());
    println!("wall time               {:>9.2} s", wall.as_secs_f64());
    println!("a handshake, device     {:>9.0} us", each(spent.device));
    println!("a handshake, gateway    {:>9.0} us", each(spent.gateway));
    println!("a token, authority      {:>9.0} us", each(spent.authority));
    Ok(sessions == count && (!judged || threads <= GOAL.as_secs_f64()))
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let bench = arguments.iter().any(|argument| argument == "--bench");
    let count = arguments.iter().find_map(|argument| argument.parse().ok());
    let count = count.unwrap_or(if bench { 10_000 } else { 20 });
    match run(count, bench) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("the goal was missed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("failed to {error}");
            ExitCode::FAILURE
        }
    }
}

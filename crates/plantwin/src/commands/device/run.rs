//! `plantwin device run`: the device plays, proves itself and reports until it is told to stop.
//!
//! Its clock runs in real time: tokens and sessions are judged by two clocks in two processes, and
//! they agree at that speed only. Absent: the protocol's two ends (`plantwin-field` and adapters).

use std::{
    fs::File,
    io::Read as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use plantwin_adapter::{LinkError, Registry, SystemClock};
use plantwin_authority::{
    TOKEN_LIFE,
    pws::{Agent, DeviceIdentity, Grant},
};
use plantwin_field::{Field, FieldError, FieldRequest, KeyFile};
use plantwin_model::{Clock, DeviceId, DeviceIx, PlantSpec, Timestamp};

use super::{
    super::{console, keys, read},
    alone::alone,
    args::RunArgs,
    failure,
    log::Log,
};
use crate::{
    cli::ReadArgs,
    exit::{Code, Failure, OrExit as _},
    logging, protocols,
};

/// Threads that carry the device.
const THREADS: usize = 2;
/// Time between looks at the stop flag.
const LOOK: Duration = Duration::from_millis(50);
/// Longest grant that is read, in bytes.
const GRANT_LIMIT: u64 = 16 * 1024;
/// Pause before a broker that is away is tried again.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) fn run(args: &RunArgs) -> Result<Code, Failure> {
    let stop = console::stop_flag().or_exit(Code::Unavailable)?;
    logging::install(args.log, &logging::Target::Stderr).or_exit(Code::Unavailable)?;
    let how = ReadArgs {
        variant: args.variant.clone(),
        twins: args.twins.clone(),
        simulate: None,
        seed: args.seed,
    };
    let registry = protocols::registry();
    let plant = read::sound(read::from_file(&args.plant, &how)?)?;
    let (plant, ix) = alone(plant, args, &registry)?;
    let (key, me) = identity(args, &plant, ix)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
    let fingerprint = me.keys.public().fingerprint();
    let grant = args.grant.as_deref().map(|path| grant(path, &me, clock.now())).transpose()?;
    let log = Arc::new(Log::new(me.device.clone(), fingerprint, key, Arc::clone(&clock)));
    let device = Device { plant: Arc::new(plant), registry, me, grant, clock, log, stop };
    let end = args.lasts.map(|lasts| device.clock.now().plus(lasts));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("device")
        .enable_all()
        .build()
        .or_exit(Code::Unavailable)?;
    let is_over = || device.stop.load(Relaxed) || end.is_some_and(|end| device.clock.now() >= end);
    let started = runtime.block_on(async {
        tokio::select! {
            biased;
            started = device.start() => started.map(Some),
            () = until(is_over) => Ok(None),
        }
    });
    if let Some(field) = started.map_err(failure)? {
        for (protocol, address) in &field.endpoints {
            device.log.say(format!("serves {protocol} on {address}"));
        }
        for path in field.paths.get(ix.index()).into_iter().flatten() {
            if !field.endpoints.iter().any(|(protocol, _)| protocol == path.protocol) {
                let hub = path.text("addr").unwrap_or("its broker");
                device.log.say(format!("joined {} at {hub}", path.protocol));
            }
        }
        runtime.block_on(until(|| {
            device.log.look_at_token();
            is_over()
        }));
        drop(field);
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(Code::Ok)
}

async fn until(is_over: impl Fn() -> bool) {
    while !is_over() {
        tokio::time::sleep(LOOK).await;
    }
}

/// The keys, if they are those of the plant's device.
fn identity(
    args: &RunArgs,
    plant: &PlantSpec,
    ix: DeviceIx,
) -> Result<(KeyFile, DeviceIdentity), Failure> {
    let key = KeyFile::read(&args.dir).map_err(|error| {
        let made = args.dir.join(plantwin_field::KEY_FILE).exists();
        let hint = if made { "" } else { "; `plantwin device enrol` makes it" };
        Code::Unavailable.failure(format!("failed to {error}{hint}"))
    })?;
    let passphrase = match &args.passphrase_file {
        _ if !key.is_sealed() => None,
        Some(path) => Some(keys::read_passphrase(path)?),
        None if std::io::IsTerminal::is_terminal(&std::io::stdin()) => {
            Some(keys::ask(&format!("Passphrase of {}: ", key.path().display()))?)
        }
        None => {
            return Err(Code::Auth.failure(format!(
                "{} is sealed by a passphrase; give it by --passphrase-file FILE",
                key.path().display()
            )));
        }
    };
    let me = key.open(passphrase.as_deref().map(String::as_str)).map_err(failure)?;
    let device = &plant.devices[ix.index()];
    let zone = &plant.zones[usize::from(device.zone.0)].id;
    if me.device != device.id || me.zone != *zone {
        return Err(Code::Config.failure(format!(
            "{} holds the keys of {} in {}, but this is {} in {zone}: a device and its zone are \
             bound to its keys; enrol it anew",
            key.path().display(),
            me.device,
            me.zone,
            device.id
        )));
    }
    Ok((key, me))
}

/// A grant that was fetched by hand, if it is one for these keys now.
pub(crate) fn grant(path: &Path, me: &DeviceIdentity, now: Timestamp) -> Result<Grant, Failure> {
    let shown = path.display();
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(GRANT_LIMIT).read_to_string(&mut text))
        .map_err(|e| Code::Unavailable.failure(format!("cannot read the grant {shown}: {e}")))?;
    let hint = "`plantwin authority issue DEVICE --gateway NAME --out FILE` makes one";
    let grant: Grant = serde_json::from_str(&text)
        .map_err(|_| Code::Config.failure(format!("{shown} is no grant; {hint}")))?;
    // Tried here, where somebody is told; the device takes it when it starts.
    let expires = Agent::new(me.clone()).take(&grant, now).map_err(|error| {
        Code::Config.failure(format!(
            "the grant {shown} is of no use here: failed to {error}; it is for one device with its \
             keys and for five minutes, and {hint}"
        ))
    })?;
    // A device begins sessions with a token in the first half of its life.
    if expires.since(now) <= TOKEN_LIFE / 2 {
        return Err(Code::Config.failure(format!(
            "the grant {shown} is older than five minutes, so that the device would ask for \
             another; {hint}"
        )));
    }
    Ok(grant)
}

struct Device {
    plant: Arc<PlantSpec>,
    registry: Registry,
    me: DeviceIdentity,
    grant: Option<Grant>,
    clock: Arc<dyn Clock>,
    log: Arc<Log>,
    stop: Arc<AtomicBool>,
}

impl Device {
    /// Starts it, however long its broker takes to come.
    async fn start(&self) -> Result<Field, FieldError> {
        loop {
            let log = Arc::clone(&self.log);
            let started = Field::start_alone(
                self.request(),
                self.grant.clone(),
                Arc::new(move |_: &DeviceId, event| log.event(event)),
            );
            match started.await {
                Err(FieldError::Host { protocol, source }) if may_come(&source) => {
                    self.log.say(format!("waits for {protocol}: failed to {source}"));
                    tokio::time::sleep(AGAIN).await;
                }
                result => return result,
            }
        }
    }

    fn request(&self) -> FieldRequest {
        let me = self.me.clone();
        FieldRequest {
            plant: Arc::clone(&self.plant),
            registry: self.registry.clone(),
            clock: Arc::clone(&self.clock),
            identities: Arc::new(move |_, _| Ok(me.clone())),
        }
    }
}

/// Whether waiting may help: an address of our own that is taken stays so.
const fn may_come(error: &LinkError) -> bool {
    matches!(
        error,
        LinkError::Unreachable { .. } | LinkError::Timeout { .. } | LinkError::Closed(_)
    )
}

//! The device face: one server that plays all devices of a request.
//!
//! The library's limits are made for slow processes (100 ms, 20 sessions); they are raised here.
//! Its diagnostics nodes are left out: nobody reads them, and index 1 is then free for devices
//! that are mapped there. Absent: what a device does with a write or session bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use opcua::{
    crypto::SecurityPolicy,
    server::{
        ANONYMOUS_USER_TOKEN_ID, Server, ServerBuilder, ServerEndpoint, ServerHandle,
        address_space::AddressSpace,
        node_manager::{
            ServerContext,
            memory::{CoreNodeManagerBuilder, InMemoryNodeManagerBuilder},
        },
    },
    types::BuildInfo,
};
use plantwin_adapter::{DevicePort, Host, HostRequest, LinkError, Tasks, Traffic};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::mpsc,
};

use crate::{
    config::PathConfig,
    gate::Gate,
    nodes::{self, SERVER_URI},
    outlet::StationOutlet,
    pki::{Face, Pki, PkiFolder, with_pki},
    security::Security,
    station::{Desk, Station, StationManager},
    users::{Doorkeeper, Users},
};

/// Requests waiting for one simulated device; more are refused with `BadTooManyOperations`.
const REQUEST_QUEUE: usize = 256;
/// Connections the system holds until the server takes them.
const BACKLOG: u32 = 1024;
/// Sessions at once.
const MOST_SESSIONS: usize = 1000;
/// Shortest publishing interval, and how often subscriptions are looked at.
const TICK_MILLIS: u64 = 10;

/// Plays the devices of `request`.
pub(crate) async fn host(request: HostRequest, pki: Arc<PkiFolder>) -> Result<Host, LinkError> {
    let read = |d: &plantwin_adapter::HostedDevice| PathConfig::read(&d.device, &d.points, &d.path);
    let configs: Vec<_> =
        request.devices.iter().map(read).collect::<Result<_, _>>().map_err(LinkError::Settings)?;
    nodes::check(&request.devices, &configs).map_err(LinkError::Settings)?;
    let listener = listen(request.listen)?;
    let address = listener.local_addr().map_err(|e| LinkError::Listen {
        address: "127.0.0.1:0".to_owned(),
        cause: e.to_string(),
    })?;

    let (desks, receivers): (Vec<_>, Vec<_>) = request
        .devices
        .iter()
        .map(|_| {
            let (inbox, requests) = mpsc::channel(REQUEST_QUEUE);
            let traffic = Arc::new(Traffic::default());
            (Desk { inbox, up: AtomicBool::new(true), traffic }, requests)
        })
        .unzip();
    let desks: Arc<[Desk]> = desks.into();
    let secured = configs.iter().any(|c| c.protection.security != Security::None);
    if configs.iter().any(|c| c.protection.security != Security::None && c.protection.pki.is_none())
        && !address.ip().is_loopback()
    {
        let why = format!(
            "a device with `security` that is served on {address} needs `pki`, a folder whose \
             `trusted` holds the certificates of its clients: without it every client is accepted, \
             which is for the loopback only"
        );
        return Err(LinkError::Settings(why));
    }
    let configs: Arc<[PathConfig]> = configs.into();
    let (devices, stationed) = (request.devices.clone(), Arc::clone(&desks));
    // Importing the standard's nodes takes a moment that no other task should wait for.
    let making = tokio::task::spawn_blocking(move || {
        let layout = Arc::clone(&configs);
        let station = move |context: ServerContext, space: &mut AddressSpace| Station {
            layout: nodes::build(&devices, &layout, &context, space),
            desks: stationed,
            living: Mutex::default(),
        };
        build(address, &configs, station, &pki)
    });
    let failed = |cause: String| LinkError::Listen { address: address.to_string(), cause };
    let (server, handle) =
        making.await.map_err(|e| failed(e.to_string()))?.map_err(LinkError::Settings)?;
    let manager = handle.node_managers().get_of_type::<StationManager>();
    let manager = manager.ok_or_else(|| failed("the server lost its nodes".to_owned()))?;

    let mut tasks = Tasks::new();
    let listener = if secured {
        let inner = listen(None)?;
        let gate = Gate {
            inner: inner.local_addr().map_err(|e| failed(e.to_string()))?,
            info: Arc::clone(handle.info()),
            port: address.port(),
        };
        tasks.spawn(gate.run(listener));
        inner
    } else {
        listener
    };
    tasks.spawn(async move {
        if let Err(error) = server.run_with(listener).await {
            tracing::error!(%error, "the OPC UA server ended");
        }
    });
    let port =
        |(ix, (device, requests)): (usize, (&plantwin_adapter::HostedDevice, _))| DevicePort {
            device: device.device.clone(),
            outlet: Box::new(StationOutlet::new(
                Arc::clone(&manager),
                Arc::clone(handle.subscriptions()),
                Arc::clone(&desks),
                ix,
                Arc::clone(&request.clock),
            )),
            requests,
            traffic: Arc::clone(&desks[ix].traffic),
        };
    let devices = request.devices.iter().zip(receivers).enumerate().map(port).collect();
    Ok(Host { address, devices, tasks })
}

/// Binds the listener. The library never sets `TCP_NODELAY` on what it accepts; accepted sockets
/// inherit it from the listening one (Linux and the BSDs).
pub(crate) fn listen(wanted: Option<SocketAddr>) -> Result<TcpListener, LinkError> {
    let address = wanted.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.set_nodelay(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|e: std::io::Error| LinkError::Listen {
        address: address.to_string(),
        cause: e.to_string(),
    })
}

/// Configures the library's server. Blocks for some milliseconds, longer if a key must be made.
fn build(
    address: SocketAddr,
    configs: &[PathConfig],
    station: impl FnOnce(ServerContext, &mut AddressSpace) -> Station + 'static,
    shared: &PkiFolder,
) -> Result<(Server, ServerHandle), String> {
    let all = || configs.iter().map(|c| &c.protection);
    let security = all().map(|p| p.security).max().unwrap_or(Security::None);
    let folder = all().find_map(|p| p.pki.as_deref());
    let users = Users::read(all())?;
    with_pki(shared, security, folder, Face::Server, |pki| {
        configure(address, configs, &users, pki)
            .with_node_manager(InMemoryNodeManagerBuilder::new(station))
            .build()
    })?
}

fn configure(
    address: SocketAddr,
    configs: &[PathConfig],
    users: &Users,
    pki: Pki,
) -> ServerBuilder {
    // What endpoints call the server; foreign clients may follow it.
    let host = match address {
        a if a.ip().is_unspecified() => "localhost".to_owned(),
        SocketAddr::V4(a) => a.ip().to_string(),
        SocketAddr::V6(a) => format!("[{}]", a.ip()),
    };
    let mut builder = ServerBuilder::new()
        .without_node_managers()
        .with_node_manager(InMemoryNodeManagerBuilder::new(CoreNodeManagerBuilder))
        .application_name("plantwin devices")
        .application_uri(SERVER_URI)
        .product_uri("urn:plantwin")
        .build_info(BuildInfo {
            product_uri: "urn:plantwin".into(),
            product_name: "plantwin".into(),
            software_version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        })
        .discovery_urls(vec![format!("opc.tcp://{host}:{}/", address.port())])
        .host(host)
        .port(address.port())
        .pki_dir(pki.folder)
        .certificate_path(pki.certificate)
        .private_key_path(pki.key)
        .create_sample_keypair(pki.own)
        .trust_client_certs(pki.trust_all)
        .with_authenticator(Arc::new(Doorkeeper::new(users.tokens())))
        .subscription_poll_interval_ms(TICK_MILLIS);
    let limits = builder.limits_mut();
    limits.max_sessions = MOST_SESSIONS;
    let subscriptions = &mut limits.subscriptions;
    subscriptions.min_publishing_interval_ms = TICK_MILLIS as f64;
    // 0 = a client that asks for 0 is told of every measurement.
    subscriptions.min_sampling_interval_ms = 0.0;
    subscriptions.max_monitored_item_queue_size = 10_000;
    subscriptions.max_subscriptions_per_session = 100;
    subscriptions.max_queued_notifications = 100;

    for (id, token) in users.tokens() {
        builder = builder.add_user_token(id, token);
    }
    let mut endpoints: BTreeMap<String, (SecurityPolicy, Security, BTreeSet<String>)> =
        BTreeMap::new();
    let mut open = |policy: SecurityPolicy, security: Security, user: String| {
        let name = format!("{policy} {}", security.name());
        endpoints.entry(name).or_insert((policy, security, BTreeSet::new())).2.insert(user);
    };
    for protection in configs.iter().map(|c| &c.protection) {
        if protection.security == Security::None {
            open(SecurityPolicy::None, Security::None, users.id(&protection.user));
        }
        for &policy in &protection.policies {
            open(policy, protection.security, users.id(&protection.user));
        }
    }
    // A server without devices still answers, anonymously.
    if configs.is_empty() {
        open(SecurityPolicy::None, Security::None, ANONYMOUS_USER_TOKEN_ID.to_owned());
    }
    for (name, (policy, security, users)) in endpoints {
        let users: Vec<String> = users.into_iter().collect();
        let endpoint = ServerEndpoint::new("/", policy, security.mode(), &users);
        builder = builder.add_endpoint(name, endpoint);
    }
    builder
}

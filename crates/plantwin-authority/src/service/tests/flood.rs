//! Strangers: garbage, half-open connections, floods.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::*;
use crate::service::wire::{Hello, PROLOGUE, Welcome};

/// A connection from one of the loopback's many addresses.
async fn from(host: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 1, host], 0))).unwrap();
    socket.connect(to).await.unwrap()
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes(), bytes].concat()
}

/// What the server says until it closes; a reset is a close.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("it closes");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_ends_the_connection_and_nothing_else() {
    let authority = in_memory();
    let pass = credential(&authority, GATEWAY, ClientKind::Gateway);
    let server = service(&authority).await;
    let mut seed = 1_u64;
    let mut random = move || {
        // Numerical Recipes' generator is random enough to be garbage.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as u8
    };
    let whole = Hello::new(&pass.authority, [0; 32], vec![7; 96]).to_bytes();
    let mut garbage: Vec<Vec<u8>> = vec![
        vec![255; 4],
        frame(&[]),
        frame(&[9]),
        frame(&[1]),
        frame(&whole),
        frame(&whole[..whole.len() - 1]),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ];
    garbage.extend((0..150).map(|n| frame(&(0..n).map(|_| random()).collect::<Vec<_>>())));
    for (ix, bytes) in garbage.iter().enumerate() {
        // Ten a second are allowed from one address.
        let mut stream = from((ix % 200) as u8, server.local_addr()).await;
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        rest(&mut stream).await;
    }
    let counts = server.counts();
    assert!(counts.refused >= garbage.len() as u64, "{counts:?}");
    // A first MAC that does not fit costs no key agreement.
    assert!(counts.agreements <= 2, "{counts:?}");
    until(|| server.counts().half_open == 0).await;
    let remote = remote(server.local_addr(), &pass);
    up(&remote).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_says_nothing_or_little_is_closed() {
    let authority = in_memory();
    let limits = Limits { handshake: Duration::from_secs(2), ..Limits::default() };
    let address = "127.0.0.1:0".parse().unwrap();
    let server = Server::start_with(authority, address, limits).await.unwrap();
    let mut silent = from(1, server.local_addr()).await;
    let mut slow = from(2, server.local_addr()).await;
    slow.write_all(&frame(&[1; 100])[..50]).await.unwrap();
    assert!(rest(&mut silent).await.is_empty());
    assert!(rest(&mut slow).await.is_empty());
    until(|| server.counts().half_open == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_from_its_own_address_keeps_no_gateway_away() {
    let authority = in_memory();
    let pass = credential(&authority, GATEWAY, ClientKind::Gateway);
    let limits = Limits { handshake: PATIENCE, ..Limits::default() };
    let address = "127.0.0.1:0".parse().unwrap();
    let server = Server::start_with(authority, address, limits).await.unwrap();
    // Without the authority's key, and with it.
    let hello = |first| frame(&Hello::new(&pass.authority, [0; 32], first).to_bytes());
    let mut garbage = vec![frame(&[9]); 20];
    garbage.extend(vec![hello(vec![7; 96]); 6]);
    let stranger = DhKey::generate().unwrap();
    for _ in 0..2 {
        let (_, first) = plantwin_seal::noise::Initiator::start(
            &stranger,
            &pass.authority,
            PROLOGUE,
            &pass.psk,
            &[],
        )
        .unwrap();
        garbage.push(hello(first));
    }
    for bytes in &garbage {
        let mut stream = from(1, server.local_addr()).await;
        stream.write_all(bytes).await.unwrap();
        let _ = stream.shutdown().await;
        rest(&mut stream).await;
    }
    // From the very same address, and at once.
    let (_, first) =
        plantwin_seal::noise::Initiator::start(&pass.dh, &pass.authority, PROLOGUE, &pass.psk, &[])
            .unwrap();
    let mut gateway = from(1, server.local_addr()).await;
    gateway.write_all(&hello(first)).await.unwrap();
    gateway.shutdown().await.unwrap();
    let said = rest(&mut gateway).await;
    assert!(said.len() > 4, "it was turned away without a word");
    assert!(matches!(Welcome::from_bytes(&said[4..]), Ok(Welcome::Second(s)) if s.len() == 48));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_beyond_their_bound_turn_each_other_out_and_no_gateway() {
    let authority = in_memory();
    let me = enrolled(&authority, "tank1");
    let pass = credential(&authority, GATEWAY, ClientKind::Gateway);
    // Too long to be waited for: who goes was turned out.
    let handshake = Duration::from_mins(10);
    let limits = Limits { handshake, silent: 6, silent_each: 3, ..Limits::default() };
    let address = "127.0.0.1:0".parse().unwrap();
    let server = Server::start_with(authority, address, limits).await.unwrap();
    let to = server.local_addr();
    let mut held = Vec::new();
    for host in 1..=9 {
        held.push(from(host, to).await);
        until(|| server.counts().half_open == u64::from(host).min(6)).await;
    }
    for stream in &mut held[..3] {
        assert!(rest(stream).await.is_empty());
    }
    // From the gateway's own address as well.
    for _ in 0..9 {
        held.push(TcpStream::connect(to).await.unwrap());
    }
    let remote = remote(to, &pass);
    up(&remote).await;
    token(&remote, &me).await.unwrap();
    let counts = server.counts();
    assert!(counts.half_open <= 6 && counts.cookies == 0, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_that_were_not_written_down_are_counted_when_the_service_ends() {
    let book = Arc::new(Book::default());
    let authority = Embedded::in_memory(clock(), Arc::clone(&book) as _).unwrap();
    let server = service(&authority).await;
    for _ in 0..60 {
        let mut stream = from(1, server.local_addr()).await;
        stream.write_all(&frame(&[9])).await.unwrap();
        rest(&mut stream).await;
    }
    until(|| server.counts().refused == 60).await;
    drop(server);
    assert!(book.has("further refusals were not written down"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_hello_gives_no_channel() {
    let authority = in_memory();
    let pass = credential(&authority, GATEWAY, ClientKind::Gateway);
    let limits = Limits { handshake: Duration::from_secs(2), ..Limits::default() };
    let address = "127.0.0.1:0".parse().unwrap();
    let server = Server::start_with(authority, address, limits).await.unwrap();
    let (_, first) =
        plantwin_seal::noise::Initiator::start(&pass.dh, &pass.authority, PROLOGUE, &pass.psk, &[])
            .unwrap();
    // Recorded, and sent by somebody without any key.
    let hello = frame(&Hello::new(&pass.authority, [0; 32], first).to_bytes());
    for host in 1..4 {
        let mut stream = from(host, server.local_addr()).await;
        stream.write_all(&hello).await.unwrap();
        let said = rest(&mut stream).await;
        // The second message, and no list after it.
        assert!(matches!(Welcome::from_bytes(&said[4..]), Ok(Welcome::Second(s)) if s.len() == 48));
    }
    assert_eq!(server.counts().clients, 0);
    until(|| server.counts().half_open == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_from_one_address_keeps_nobody_else_away() {
    let authority = in_memory();
    let me = enrolled(&authority, "tank1");
    let pass = credential(&authority, GATEWAY, ClientKind::Gateway);
    let server = service(&authority).await;
    let to = server.local_addr();
    let flood = tokio::spawn(async move {
        let mut held = Vec::new();
        for _ in 0..500 {
            held.push(from(9, to).await);
        }
        held
    });
    let remote = remote(to, &pass);
    up(&remote).await;
    token(&remote, &me).await.unwrap();
    let held = timeout(PATIENCE, flood).await.unwrap().unwrap();
    until(|| server.counts().refused > 400).await;
    let counts = server.counts();
    assert!(counts.half_open < 60 && counts.agreements == 1, "{counts:?}");
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_flood_from_many_addresses_a_cookie_comes_before_any_key_agreement() {
    let authority = in_memory();
    let me = enrolled(&authority, "tank1");
    let pass = credential(&authority, GATEWAY, ClientKind::Gateway);
    let limits = Limits { handshake: Duration::from_secs(15), ..Limits::default() };
    let address = "127.0.0.1:0".parse().unwrap();
    let server = Server::start_with(authority, address, limits).await.unwrap();
    let mut held = Vec::new();
    for ix in 0..160 {
        held.push(from(10 + ix / 8, server.local_addr()).await);
    }
    until(|| server.counts().half_open > 128).await;
    // Somebody who knows the authority's key and repeats no cookie.
    let hello = frame(&Hello::new(&pass.authority, [0; 32], vec![7; 96]).to_bytes());
    let mut stranger = from(200, server.local_addr()).await;
    stranger.write_all(&[hello.clone(), hello].concat()).await.unwrap();
    let said = rest(&mut stranger).await;
    assert!(matches!(Welcome::from_bytes(&said[4..37]), Ok(Welcome::Cookie(_))), "{said:?}");
    assert_eq!((server.counts().cookies, server.counts().agreements), (1, 0));
    let remote = remote(server.local_addr(), &pass);
    up(&remote).await;
    token(&remote, &me).await.unwrap();
    let counts = server.counts();
    assert_eq!((counts.cookies, counts.agreements), (2, 1), "{counts:?}");
    drop(held);
    until(|| server.counts().half_open == 0).await;
}

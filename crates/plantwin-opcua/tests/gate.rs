//! What neither face lets near its private key, byte by byte: policies that are off, floods.

mod common;

use std::time::Duration;

use common::{context, frame, path, request, soon};
use plantwin_adapter::{Host, Measurement, Protocol, SystemClock};
use plantwin_model::Clock;
use plantwin_opcua::OpcUa;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const OLD: &str = "http://opcfoundation.org/UA/SecurityPolicy#Basic128Rsa15";
const GOOD: &str = "http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256";

/// A chunk of OPC UA (Part 6, 6.7.2 and 7.1.2.2).
fn chunk(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_vec();
    bytes.extend((8 + body.len() as u32).to_le_bytes());
    bytes.extend(body);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

/// Hello: version 0, buffers of 64 KiB, no limits, URL.
fn hello(url: &str) -> Vec<u8> {
    let numbers = [0_u32, 65_536, 65_536, 0, 0].map(u32::to_le_bytes).concat();
    chunk(*b"HELF", &[numbers, text(url)].concat())
}

/// OpenSecureChannel by this policy, with certificate and body that mean nothing.
fn open(policy: &str) -> Vec<u8> {
    let sender = text("no certificate");
    let receiver = text("no thumbprint, really");
    chunk(*b"OPNF", &[vec![0; 4], text(policy), sender, receiver, vec![7; 256]].concat())
}

async fn secured(protocol: &OpcUa) -> Host {
    let played = path(&[("security", "sign-encrypt")], &[]);
    let mut host = protocol.host(request(&[("alpha", played)])).await.expect("it starts");
    let m = Measurement::good(SystemClock::new(1.0).now(), 1, &[1.0, 2.0, 3.0, 0.5]);
    host.devices[0].outlet.publish(&m).await.expect("it publishes");
    host
}

/// All that a server says to a client that opens a channel by a policy.
async fn answer_to(host: &Host, policy: &str) -> Vec<u8> {
    let mut client = TcpStream::connect(host.address).await.expect("it accepts");
    let url = format!("opc.tcp://{}/", host.address);
    client.write_all(&hello(&url)).await.expect("sent");
    let mut acknowledge = [0; 28];
    soon("the acknowledgement", client.read_exact(&mut acknowledge)).await.expect("ACK");
    assert!(acknowledge.starts_with(b"ACKF"), "{acknowledge:?}");
    client.write_all(&open(policy)).await.expect("sent");
    let mut rest = Vec::new();
    // A reset after the last word is an end as well.
    let _ = soon("the end", client.read_to_end(&mut rest)).await;
    rest
}

/// Status code of an error message.
fn code(answer: &[u8]) -> Option<u32> {
    let code = answer.strip_prefix(b"ERRF")?.get(4..8)?;
    code.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// `BadSecurityPolicyRejected` and `BadTcpServerTooBusy` (Part 6, Annex A.2).
const POLICY_REJECTED: u32 = 0x8055_0000;
const TOO_BUSY: u32 = 0x807D_0000;

#[tokio::test]
async fn a_policy_that_is_off_is_refused_before_the_private_key_is_used() {
    let protocol = OpcUa::new();
    let host = secured(&protocol).await;
    for policy in [OLD, "http://opcfoundation.org/UA/SecurityPolicy#Basic256", "urn:made-up", ""] {
        let answer = answer_to(&host, policy).await;
        assert_eq!(code(&answer), Some(POLICY_REJECTED), "{policy}: {answer:?}");
        assert!(String::from_utf8_lossy(&answer).contains("is not offered"), "{answer:?}");
    }
    // A good one gets through to the library, which finds that the message means nothing.
    assert_ne!(code(&answer_to(&host, GOOD).await), Some(POLICY_REJECTED));
}

#[tokio::test]
async fn a_flood_of_channels_is_refused_and_open_links_go_on() {
    let protocol = OpcUa::new();
    let mut host = secured(&protocol).await;
    let path = path(&[("security", "sign-encrypt")], &[]);
    let mut context = context("alpha", &path, host.address);
    context.timeout = Duration::from_secs(20);
    let mut link = protocol.connect(context.clone()).await.expect("it connects");
    assert_eq!(frame(&mut link).await.sequence, Some(1));
    // On a busy machine a channel becomes free between the flood and the link that follows it.
    let refused = async {
        loop {
            while code(&answer_to(&host, GOOD).await) != Some(TOO_BUSY) {}
            if let Err(busy) = protocol.connect(context.clone()).await {
                break busy;
            }
        }
    };
    let busy = soon("no more channels from here", refused).await;
    assert!(busy.to_string().contains("no more secure channels now"), "{busy}");
    let m = Measurement::good(SystemClock::new(1.0).now(), 2, &[1.0, 2.0, 3.0, 0.5]);
    host.devices[0].outlet.publish(&m).await.expect("it publishes");
    while frame(&mut link).await.sequence != Some(2) {}
}

#[tokio::test]
async fn a_server_that_answers_by_another_policy_is_not_listened_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it has one");
    let server = async {
        let (mut client, _) = listener.accept().await.expect("a client");
        let mut hello = vec![0; 1024];
        let n = client.read(&mut hello).await.expect("a hello");
        assert!(hello[..n].starts_with(b"HELF"));
        let numbers = [0_u32, 65_536, 65_536, 0, 0].map(u32::to_le_bytes).concat();
        client.write_all(&chunk(*b"ACKF", &numbers)).await.expect("sent");
        let n = client.read(&mut hello).await.expect("an open");
        assert!(hello[..n].starts_with(b"OPNF"));
        client.write_all(&open(OLD)).await.expect("sent");
        client
    };
    // A link without security has no certificate, which the library would look for in vain.
    let path = path(&[], &[]);
    let connecting = OpcUa::new().connect(context("alpha", &path, address));
    let (link, _client) = soon("both", async { tokio::join!(connecting, server) }).await;
    let why = link.err().expect("this is no server for us").to_string();
    assert!(why.contains("answers with the security policy") && why.contains("Rsa15"), "{why}");
}

#[tokio::test]
async fn without_a_folder_of_certificates_security_is_served_on_the_loopback_only() {
    let mut request = request(&[("alpha", path(&[("security", "sign")], &[]))]);
    request.listen = Some("0.0.0.0:0".parse().expect("an address"));
    let why = OpcUa::new().host(request).await.err().expect("every client would be accepted");
    assert!(why.to_string().contains("needs `pki`"), "{why}");
}

//! Certificates, users and policies against asyncua, an independent implementation of OPC UA in
//! Python, on both faces. Skipped with a loud word where it is not installed, except in CI.

mod common;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use common::{available, context, frame, path, request, soon};
use plantwin_adapter::{
    Connection, LinkContext, LinkError, Measurement, PointWrite, Protocol, SystemClock,
};
use plantwin_model::{Clock, PointIx};
use plantwin_opcua::OpcUa;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// The script, killed when dropped, with its output.
struct Peer {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    fn start(arguments: &[&str]) -> Self {
        let script = format!("{}/tests/peer_secure.py", env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new("python3")
            .arg(script)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("python3 starts");
        let out = child.stdout.take().expect("its output is piped");
        Self { _child: child, lines: BufReader::new(out).lines() }
    }

    async fn line(&mut self) -> Option<String> {
        soon("a line of the peer", self.lines.next_line()).await.expect("its output is text")
    }

    async fn expect(&mut self, wanted: &str) {
        assert_eq!(self.line().await.as_deref(), Some(wanted));
    }
}

/// Keys and certificates of a test, and what a link to the foreign server needs.
struct Rig {
    folder: TempDir,
    address: std::net::SocketAddr,
    /// One for all links, since each makes an RSA key of its own.
    protocol: OpcUa,
    _server: Option<Peer>,
}

const ENCRYPTED: [&str; 3] = [
    "Basic256Sha256_SignAndEncrypt",
    "Aes128Sha256RsaOaep_SignAndEncrypt",
    "Aes256Sha256RsaPss_SignAndEncrypt",
];

impl Rig {
    /// A folder with keys; with policies, a foreign server that has the key `server`.
    async fn new(policies: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let name = folder.path().to_str().expect("a plain name").to_owned();
        Peer::start(&["keys", &name]).expect("ready").await;
        write_private(&folder.path().join("password"), "secret\n", 0o600);
        write_private(&folder.path().join("guess"), "guess\n", 0o600);
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        let address = free.expect("a free port");
        let server = if policies.is_empty() {
            None
        } else {
            let port = address.port().to_string();
            let mut server = Peer::start(&[&["server", &port, &name], policies].concat());
            server.expect("ready").await;
            Some(server)
        };
        Self { folder, address, protocol: OpcUa::new(), _server: server }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("a plain name").to_owned()
    }

    fn context(&self, settings: &[(&str, &str)]) -> LinkContext {
        let nodes = [(2, "ns=1;s=rig.valve")];
        let place = [("node", "rig"), ("namespace", "urn:peer")];
        let path = path(&[&place, settings].concat(), &nodes);
        let mut context = context("rig", &path, self.address);
        // Making an RSA key in a debug build takes seconds.
        context.timeout = Duration::from_secs(20);
        context
    }

    /// Connects; the settings are texts, of which those of files name one in the folder.
    async fn connect(&self, settings: &[(&'static str, &str)]) -> Result<Connection, LinkError> {
        let files = ["server_cert", "pki", "password_file", "user_cert", "user_key"];
        let text = |&(key, value): &(&'static str, &str)| {
            (key, if files.contains(&key) { self.file(value) } else { value.to_owned() })
        };
        let owned: Vec<(&str, String)> = settings.iter().map(text).collect();
        let settings: Vec<(&str, &str)> = owned.iter().map(|(k, v)| (*k, v.as_str())).collect();
        soon("a connect", self.protocol.connect(self.context(&settings))).await
    }

    /// Why a connect fails.
    async fn refused(&self, settings: &[(&'static str, &str)]) -> String {
        match self.connect(settings).await {
            Ok(_) => panic!("it connected with {settings:?}"),
            Err(error) => error.to_string(),
        }
    }
}

#[cfg(unix)]
fn write_private(path: &Path, text: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).expect("it can be written");
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, mode).expect("its mode can be set");
}

const PINNED: (&str, &str) = ("server_cert", "server.der");
const SECURE: (&str, &str) = ("security", "sign-encrypt");
const OP: (&str, &str) = ("user", "op");
const PASSWORD: (&str, &str) = ("password_file", "password");

#[tokio::test]
async fn the_right_credentials_open_an_asyncua_server_by_every_policy() {
    if !available().await {
        return;
    }
    let rig = Rig::new(&[&ENCRYPTED[..], &["Basic256Sha256_Sign"]].concat()).await;
    for name in ["Aes256_Sha256_RsaPss", "Basic256Sha256", "Aes128_Sha256_RsaOaep"] {
        let settings = [SECURE, PINNED, OP, PASSWORD, ("policy", name)];
        let mut link = rig.connect(&settings).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(!frame(&mut link).await.samples.is_empty());
        let write = vec![PointWrite { point: PointIx(2), value: 42.0 }];
        assert_eq!(soon("a write", link.control.write(write)).await, Ok(()), "{name}");
    }
    for settings in [
        vec![SECURE, PINNED, OP, PASSWORD],
        vec![("security", "sign"), PINNED, OP, PASSWORD],
        vec![SECURE, PINNED, ("user_cert", "user.der"), ("user_key", "user.pem")],
    ] {
        let mut link = rig.connect(&settings).await.unwrap_or_else(|e| panic!("{settings:?}: {e}"));
        assert!(!frame(&mut link).await.samples.is_empty());
    }
}

#[tokio::test]
async fn each_wrong_credential_of_an_asyncua_server_has_its_own_whole_error() {
    if !available().await {
        return;
    }
    let rig = Rig::new(&ENCRYPTED).await;
    let check = async |settings: &[(&'static str, &str)], wanted: &[&str]| {
        let why = rig.refused(settings).await;
        for part in wanted {
            assert!(why.contains(part), "{settings:?}: {part:?} is not in {why:?}");
        }
        why
    };
    let guess = ("password_file", "guess");
    let wrong = check(
        &[SECURE, PINNED, OP, guess],
        &["the server refused the user `op`", "check name and password"],
    )
    .await;
    assert!(!wrong.contains("guess"), "no password in an error");
    check(
        &[SECURE, ("server_cert", "other.der"), OP, PASSWORD],
        &["is not the one of `server_cert`", "other.der", "thumbprint"],
    )
    .await;
    check(&[SECURE, OP, PASSWORD], &["does not say whom to trust", "server_cert"]).await;
    let user = [("user_cert", "other.der"), ("user_key", "other.pem")];
    check(&[SECURE, PINNED, user[0], user[1]], &["the user with the certificate", "other.der"])
        .await;
    let mixed = [("user_cert", "user.der"), ("user_key", "other.pem")];
    check(&[SECURE, PINNED, mixed[0], mixed[1]], &["the user with the certificate"]).await;
    check(&[SECURE, PINNED], &["`sign-encrypt`, but not for anonymous users"]).await;
    check(&[], &["an endpoint with `none`", "it demands security"]).await;
    check(
        &[("security", "sign"), PINNED, OP, PASSWORD],
        &["does not offer `sign`", "it offers sign-encrypt with Basic256Sha256"],
    )
    .await;
    write_private(&rig.folder.path().join("open"), "secret\n", 0o644);
    check(&[SECURE, PINNED, OP, ("password_file", "open")], &["mode 644", "chmod 600"]).await;
    write_private(&rig.folder.path().join("open.pem"), "", 0o640);
    let open = [("user_cert", "user.der"), ("user_key", "open.pem")];
    check(&[SECURE, PINNED, open[0], open[1]], &["user_key", "mode 640", "chmod 600"]).await;
    check(&[SECURE, PINNED, OP, ("password_file", "no")], &["password_file", "No such file"]).await;
}

#[tokio::test]
async fn a_server_of_a_folder_is_accepted_once_a_person_has_moved_its_certificate() {
    if !available().await {
        return;
    }
    let rig = Rig::new(&ENCRYPTED).await;
    let settings = [SECURE, ("pki", "pki"), OP, PASSWORD];
    let why = rig.refused(&settings).await;
    assert!(why.contains("is not trusted") && why.contains("compare the thumbprint"), "{why}");
    let pki = rig.folder.path().join("pki");
    let files = |folder: &str| -> Vec<PathBuf> {
        std::fs::read_dir(pki.join(folder)).expect("a folder").flatten().map(|f| f.path()).collect()
    };
    let rejected = files("rejected");
    let [file] = rejected.as_slice() else { panic!("{rejected:?}") };
    std::fs::rename(file, pki.join("trusted/rig.der")).expect("it can be moved");
    // It is made for localhost, and a list does not say which of its servers is meant.
    let why = rig.refused(&settings).await;
    assert!(why.contains("not made for 127.0.0.1") && why.contains("server_cert"), "{why}");
    let mut context = rig.context(&[]);
    let more = [
        ("addr", format!("localhost:{}", rig.address.port())),
        ("security", "sign-encrypt".to_owned()),
        ("pki", rig.file("pki")),
        ("user", "op".to_owned()),
        ("password_file", rig.file("password")),
    ];
    for (key, value) in more {
        let value = plantwin_model::SettingValue::Text(value);
        context.path.settings.insert(key.to_owned(), value);
    }
    let mut link = OpcUa::new().connect(context).await.expect("it is trusted by that name");
    assert!(!frame(&mut link).await.samples.is_empty());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |name| std::fs::metadata(pki.join(name)).expect("it is there").permissions();
        assert_eq!(mode("private/private.pem").mode() & 0o777, 0o600);
        assert_eq!(mode("private").mode() & 0o777, 0o700);
        write_private(
            &pki.join("private/private.pem"),
            &std::fs::read_to_string(pki.join("private/private.pem")).expect("our own key"),
            0o644,
        );
        let why = rig.refused(&settings).await;
        assert!(why.contains("pki:") && why.contains("chmod 600"), "{why}");
    }
}

#[tokio::test]
async fn a_server_without_good_policies_is_refused_by_a_path_that_demands_security() {
    if !available().await {
        return;
    }
    let settings = [SECURE, PINNED, OP, PASSWORD];
    let rig = Rig::new(&["NoSecurity"]).await;
    let why = rig.refused(&settings).await;
    assert!(why.contains("does not offer `sign-encrypt`") && why.contains("offers none"), "{why}");
    let rig = Rig::new(&["Basic128Rsa15_SignAndEncrypt", "Basic256_SignAndEncrypt"]).await;
    let why = rig.refused(&settings).await;
    assert!(why.contains("nothing better than Basic") && why.contains("which is off"), "{why}");
}

#[tokio::test]
async fn an_asyncua_client_opens_a_played_device_by_good_policies_and_the_right_user_only() {
    if !available().await {
        return;
    }
    let rig = Rig::new(&[]).await;
    let pki = rig.file("pki");
    let settings = [SECURE, ("pki", pki.as_str()), OP, ("password_file", &rig.file("password"))];
    let played = path(&settings, &[]);
    let host = OpcUa::new().host(request(&[("alpha", played)])).await;
    let mut host = host.expect("the server starts");
    let m = Measurement::good(SystemClock::new(1.0).now(), 1, &[12.5, 2.0, 3.0, 0.5]);
    host.devices[0].outlet.publish(&m).await.expect("it publishes");
    // Each side is given the other's certificate.
    let of = |name: &str| rig.folder.path().join(name);
    std::fs::copy(of("pki/own/cert.der"), of("played.der")).expect("the server has a certificate");
    let url = format!("opc.tcp://{}/", host.address);
    let look = async || {
        let mut client = Peer::start(&["client", &url, rig.folder.path().to_str().expect("plain")]);
        let mut said = Vec::new();
        while let Some(line) = client.line().await {
            said.push(line);
        }
        said
    };
    let said = look().await;
    assert!(said.iter().all(|line| !line.ends_with("12.5")), "nobody trusts it yet: {said:?}");
    for file in std::fs::read_dir(of("pki/rejected")).expect("a folder").flatten() {
        std::fs::rename(file.path(), of("pki/trusted").join(file.file_name())).expect("moved");
    }
    let said = look().await;
    let open = |what: &str| said.iter().any(|line| line == &format!("{what}: 12.5"));
    for what in ["basic256sha256", "aes256pss", "aes128oaep"] {
        assert!(open(what), "{what}: {said:?}");
    }
    assert_eq!(said.len(), 9, "{said:?}");
    assert_eq!(said.iter().filter(|line| line.ends_with("12.5")).count(), 3, "{said:?}");
    assert!(said.contains(&"wrong password: BadIdentityTokenRejected".to_owned()), "{said:?}");
    for what in ["basic128rsa15", "basic256"] {
        let line = format!("{what}: BadSecurityPolicyRejected");
        let closed = said.iter().find(|l| l.starts_with(&format!("{what}:")));
        assert!(said.contains(&line) || closed.is_some_and(|l| l.contains("Error")), "{said:?}");
    }
}

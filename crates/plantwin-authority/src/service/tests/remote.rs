//! Over real sockets: tokens, revocations, restarts.

use super::*;
use crate::pws::{GatewayCert, RevocationList};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_enrolled_and_gets_tokens_through_a_gateway_far_away() {
    let authority = in_memory();
    let pass = credential(&authority, GATEWAY, ClientKind::Gateway);
    let server = service(&authority).await;
    let remote = remote(server.local_addr(), &pass);
    up(&remote).await;
    let me = device(&authority, "tank1");
    let code = invite(&authority, "tank1");
    let request = EnrolRequest::build(&me, &code.voucher());
    let status = remote.enrol(request.clone()).await.unwrap();
    assert_eq!(status, EnrolStatus::Pending { fingerprint: me.keys.public().fingerprint() });
    let early = token(&remote, &me).await.unwrap_err();
    assert_eq!(early.reason_code(), "not_approved");
    // A person far away approves, by another channel.
    let desk = credential(&authority, "ruth", ClientKind::Person(Role::Security));
    let desk = super::remote(server.local_addr(), &desk);
    up(&desk).await;
    desk.op(approve(&me), Actor::Plant).await.unwrap();
    assert!(matches!(remote.enrol(request).await.unwrap(), EnrolStatus::Active { .. }));
    let keys = remote.gateway_keys(GATEWAY).await.unwrap();
    assert_eq!(keys.dh.public(), pass.dh.public());
    let now = clock().now();
    let cert = GatewayCert::verify(&pass.root, &keys.cert, now).unwrap();
    assert_eq!((cert.gateway.as_str(), cert.dh), (GATEWAY, pass.dh.public()));
    let grant = token(&remote, &me).await.unwrap();
    let claims = PwsToken::verify(&pass.root, &grant.token, now).unwrap();
    assert_eq!(claims.cnf, me.keys.public().cnf());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_gives_the_rights_of_its_holder_and_no_more() {
    let authority = in_memory();
    enrolled(&authority, "tank1");
    let pass = credential(&authority, GATEWAY, ClientKind::Gateway);
    let other = credential(&authority, "hall2", ClientKind::Gateway);
    let desk = credential(&authority, "ruth", ClientKind::Person(Role::Security));
    let server = service(&authority).await;
    let gateway = remote(server.local_addr(), &pass);
    up(&gateway).await;
    // It says that it is somebody else; the channel says who it is.
    for op in [Op::List, revoke("tank1"), Op::Upkeep, Op::ExportRoot] {
        let refused = gateway.op(op, officer()).await.unwrap_err();
        assert_eq!(refused.reason_code(), "not_allowed");
    }
    let refused = gateway.gateway_keys(&other.name).await.unwrap_err();
    assert_eq!(refused.reason_code(), "not_allowed");
    // The root key never leaves the machine that it lies on.
    let desk = remote(server.local_addr(), &desk);
    up(&desk).await;
    desk.op(Op::List, Actor::Plant).await.unwrap();
    let refused = desk.op(Op::ExportRoot, Actor::Plant).await.unwrap_err();
    assert_eq!(refused.reason_code(), "not_allowed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_reaches_a_gateway_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let authority = on_disk(&dir);
    let me = enrolled(&authority, "tank1");
    let pass = credential(&authority, GATEWAY, ClientKind::Gateway);
    let server = service(&authority).await;
    let remote = remote(server.local_addr(), &pass);
    up(&remote).await;
    let mut lists = remote.revocations();
    lists.mark_unchanged();
    let clock = clock();
    let asked = clock.now();
    authority.op(revoke("tank1"), officer()).await.unwrap();
    timeout(PATIENCE, lists.changed()).await.unwrap().unwrap();
    let took = clock.now().since(asked);
    assert!(lists.borrow().revoked.contains(&me.keys.public().cnf()));
    println!("from the order to the gateway's list: {took:?}");
    // At once, and not with the next signature of the list, a minute later.
    assert!(took < PATIENCE, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_longer_than_a_frame_arrives_whole() {
    let authority = in_memory();
    // 3,000 hashes are 96 kB.
    for ix in 0..3000 {
        let name = format!("tank{ix}");
        let keys = DeviceKeys::generate().unwrap().public();
        authority.enrol_simulated(&name.as_str().into(), &"field".into(), keys).unwrap();
    }
    let pass = credential(&authority, GATEWAY, ClientKind::Gateway);
    let server = service(&authority).await;
    let remote = remote(server.local_addr(), &pass);
    up(&remote).await;
    for ix in (0..3000).step_by(1000) {
        authority.op(revoke(&format!("tank{ix}")), officer()).await.unwrap();
    }
    let mut lists = remote.revocations();
    let whole = |list: &Arc<RevocationList>| list.revoked.len() == 3;
    timeout(PATIENCE, lists.wait_for(whole)).await.unwrap().unwrap();
    let desk = credential(&authority, "ruth", ClientKind::Person(Role::Security));
    let desk = super::remote(server.local_addr(), &desk);
    up(&desk).await;
    let Reply::List(list) = desk.op(Op::List, Actor::Plant).await.unwrap() else { panic!() };
    assert_eq!(list.devices.len(), 3000);
    assert!(postcard::to_allocvec(&list).unwrap().len() > 128 * 1024);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_restarts_is_found_again_and_meanwhile_the_list_stands() {
    let dir = tempfile::tempdir().unwrap();
    let authority = on_disk(&dir);
    let me = enrolled(&authority, "tank1");
    enrolled(&authority, "tank2");
    let pass = credential(&authority, GATEWAY, ClientKind::Gateway);
    let server = service(&authority).await;
    let address = server.local_addr();
    let remote = remote(address, &pass);
    authority.op(revoke("tank2"), officer()).await.unwrap();
    let mut lists = remote.revocations();
    timeout(PATIENCE, lists.wait_for(|l| l.revoked.len() == 1)).await.unwrap().unwrap();
    token(&remote, &me).await.unwrap();
    drop(server);
    drop(authority);
    until(|| !remote.health().reachable).await;
    let away = token(&remote, &me).await.unwrap_err();
    assert_eq!(away.reason_code(), "unavailable");
    assert!(!remote.health().reason.is_empty() && !remote.health().stale);
    assert_eq!(remote.revocations().borrow().revoked.len(), 1);
    // Handles of the old one may end a moment later.
    let key = Secret::new([7; 32]);
    let mut opened = None;
    until(|| {
        opened = Embedded::open(dir.path(), &key, clock(), Arc::new(NoAudit)).ok();
        opened.is_some()
    })
    .await;
    let authority = opened.unwrap().0;
    // The old listener ends a moment later.
    let begun = async {
        loop {
            match Server::start(authority.clone(), address).await {
                Ok(server) => break server,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let _server = tokio::time::timeout(PATIENCE, begun).await.unwrap();
    up(&remote).await;
    token(&remote, &me).await.unwrap();
    assert!(remote.channels() >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_list_is_told_with_its_age() {
    let authority = in_memory();
    let pass = credential(&authority, GATEWAY, ClientKind::Gateway);
    let server = service(&authority).await;
    let hand = Arc::new(plantwin_adapter::ManualClock::new(clock().now()));
    let address = server.local_addr().to_string();
    let remote = Remote::start(address, pass, Arc::clone(&hand) as _);
    assert!(remote.health().stale && remote.health().list_age.is_none());
    // The server's lists are of its own clock's time.
    until(|| {
        hand.set(clock().now());
        remote.health().reachable
    })
    .await;
    assert!(!remote.health().stale);
    drop(server);
    until(|| !remote.health().reachable).await;
    hand.advance(super::super::LIST_STALE + Duration::from_secs(1));
    let health = remote.health();
    assert!(health.stale && health.list_age > Some(super::super::LIST_STALE), "{health:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_is_renewed_by_a_new_handshake_and_no_question_is_lost() {
    let authority = in_memory();
    let me = enrolled(&authority, "tank1");
    let pass = credential(&authority, GATEWAY, ClientKind::Gateway);
    let server = service(&authority).await;
    let pace = Pace { renew: Duration::from_millis(150), ..Pace::default() };
    // The channel waits for something to do, and a ping is that.
    let pace = Pace { ping: Duration::from_millis(50), ..pace };
    let address = server.local_addr().to_string();
    let remote = Remote::start_with(address, pass, clock(), pace);
    let (mut asked, mut refused) = (0, 0);
    while remote.channels() < 4 || asked <= 3 {
        match token(&remote, &me).await {
            Ok(_) => asked += 1,
            // A device asks at most so often.
            Err(error) if error.reason_code() == "rate_limited" => refused += 1,
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(asked > 3, "{asked} and {refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dismissed_gateway_loses_its_channel_and_comes_no_more() {
    let authority = in_memory();
    let me = enrolled(&authority, "tank1");
    let pass = credential(&authority, GATEWAY, ClientKind::Gateway);
    let server = service(&authority).await;
    let remote = remote(server.local_addr(), &pass);
    up(&remote).await;
    token(&remote, &me).await.unwrap();
    let op = Op::Dismiss { name: GATEWAY.to_owned(), reason: "sold".to_owned() };
    authority.op(op, officer()).await.unwrap();
    until(|| !remote.health().reachable).await;
    until(|| server.counts().clients == 0).await;
    assert_eq!(token(&remote, &me).await.unwrap_err().reason_code(), "unavailable");
    until(|| remote.health().reason.contains("not admitted")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_with_one_wrong_secret_opens_no_channel() {
    let authority = in_memory();
    let pass = credential(&authority, GATEWAY, ClientKind::Gateway);
    let server = service(&authority).await;
    let wrong_psk = Credential { psk: Secret::random().unwrap(), ..pass.clone() };
    let wrong_key = Credential { dh: DhKey::generate().unwrap(), ..pass.clone() };
    let wrong_peer = Credential { authority: DhKey::generate().unwrap().public(), ..pass.clone() };
    let wrong_root = Credential {
        root: plantwin_seal::SigningKey::generate().unwrap().verifying_key(),
        ..pass.clone()
    };
    for wrong in [wrong_psk, wrong_key, wrong_peer, wrong_root] {
        let remote = remote(server.local_addr(), &wrong);
        until(|| remote.health().reason != "not reached yet").await;
        assert!(!remote.health().reachable, "{:?}", remote.health());
    }
    let remote = remote(server.local_addr(), &pass);
    up(&remote).await;
}

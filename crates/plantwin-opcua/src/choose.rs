//! Which of a server's endpoints a link uses, and what is said where none will do.
//!
//! The list comes over a channel that nobody protects, so nothing in it is believed that could
//! make the link weaker than its path says: the worst a lie can do is that no endpoint is found.
//! Absent: judging the endpoint's certificate (see `trust`).

use opcua::{
    crypto::SecurityPolicy,
    types::{EndpointDescription, MessageSecurityMode, UserTokenPolicy, UserTokenType},
};
use plantwin_adapter::LinkError;

use crate::security::{Protection, Security, User, allowed, policy_name, refused};

/// The kind of user as the standard and as people call it.
fn kind(user: &User) -> (UserTokenType, &'static str) {
    match user {
        User::Anonymous => (UserTokenType::Anonymous, "anonymous users"),
        User::Password { .. } => (UserTokenType::UserName, "user names"),
        User::Certificate { .. } => (UserTokenType::Certificate, "user certificates"),
    }
}

/// The endpoint to use, with the one way of telling it who the user is that will be used.
pub(crate) fn choose(
    endpoints: Vec<EndpointDescription>,
    protection: &Protection,
) -> Result<EndpointDescription, LinkError> {
    let rank = |e: &EndpointDescription| {
        let best = |p: SecurityPolicy| protection.policies.iter().position(|&x| x == p);
        match protection.security {
            Security::None => (e.security_mode == MessageSecurityMode::None).then_some(0),
            security if e.security_mode != security.mode() => None,
            _ => allowed(e.security_policy_uri.as_ref()).and_then(best),
        }
    };
    let offered = describe(&endpoints);
    let deprecated = endpoints.iter().find_map(|e| refused(e.security_policy_uri.as_ref()));
    let fitting: Vec<_> = endpoints.into_iter().filter_map(|e| Some((rank(&e)?, e))).collect();
    let any = !fitting.is_empty();
    let usable = fitting.into_iter().filter_map(|(rank, mut endpoint)| {
        let token = token(&endpoint, protection)?;
        endpoint.user_identity_tokens = Some(vec![token]);
        Some((rank, endpoint))
    });
    if let Some((_, endpoint)) = usable.min_by_key(|(rank, _)| *rank) {
        return Ok(endpoint);
    }
    let (_, people) = kind(&protection.user);
    let mode = protection.security.name();
    let why = if any {
        format!("it has `{mode}`, but not for {people}")
    } else {
        match (protection.security, protection.policies.as_slice(), deprecated) {
            (Security::None, ..) => "it demands security: set `security`".to_owned(),
            (_, [only], _) => format!("it does not offer `{mode}` with {}", policy_name(*only)),
            (_, _, Some((name, why))) => {
                format!("of `{mode}` it has nothing better than {name}, which is off: {why}")
            }
            _ => format!("it does not offer `{mode}`, and less than that is not used"),
        }
    };
    let what = format!("an endpoint with `{mode}` for {people} ({why}; it offers {offered})");
    Err(LinkError::Unsupported(what))
}

/// How the user shows who it is at this endpoint, if that is possible without harm.
fn token(endpoint: &EndpointDescription, protection: &Protection) -> Option<UserTokenPolicy> {
    let (wanted, _) = kind(&protection.user);
    let all = endpoint.user_identity_tokens.as_deref().unwrap_or_default();
    let usable = |policy: &&UserTokenPolicy| {
        let uri: &str = policy.security_policy_uri.as_ref();
        policy.token_type == wanted
            && match protection.user {
                User::Anonymous => true,
                // No policy of its own means that of the endpoint (Part 4, 7.41).
                _ if uri.is_empty() => true,
                // Within an encrypted channel, a password needs no encryption of its own.
                User::Password { .. } if uri == SecurityPolicy::None.to_uri() => {
                    endpoint.security_mode == MessageSecurityMode::SignAndEncrypt
                }
                _ => allowed(uri).is_some(),
            }
    };
    let mut token = all.iter().find(usable)?.clone();
    if token.security_policy_uri.is_empty() && wanted == UserTokenType::Certificate {
        // The library (0.19) takes no policy to mean no signature.
        token.security_policy_uri = endpoint.security_policy_uri.clone();
    }
    Some(token)
}

/// What a server offers, for people.
fn describe(endpoints: &[EndpointDescription]) -> String {
    let mut all: Vec<String> = Vec::new();
    for e in endpoints.iter().take(32) {
        let uri: &str = e.security_policy_uri.as_ref();
        let policy: String =
            uri.rsplit(['#', '/']).next().unwrap_or(uri).chars().take(40).collect();
        let one = match e.security_mode {
            MessageSecurityMode::None => "none".to_owned(),
            MessageSecurityMode::Sign => format!("sign with {policy}"),
            MessageSecurityMode::SignAndEncrypt => format!("sign-encrypt with {policy}"),
            MessageSecurityMode::Invalid => continue,
        };
        if !all.contains(&one) {
            all.push(one);
        }
    }
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

//! Who may open a session on the server of played devices.
//!
//! A user of one path's settings may use the endpoints of that path's security. A refusal takes a
//! while, so that passwords cannot be tried quickly over one connection. Absent: rights of single
//! users on single nodes (`plantwin` decides by its own policy), locking users out, which would
//! let anybody lock out anybody.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use opcua::{
    crypto::Thumbprint,
    server::{
        ANONYMOUS_USER_TOKEN_ID, ServerEndpoint, ServerUserToken,
        authenticator::{AuthManager, DefaultAuthenticator, Password, UserToken},
    },
    types::{Error, StatusCode, UAString, UserTokenPolicy, UserTokenType},
};
use tokio::time::sleep;

use crate::{
    secret::certificate,
    security::{Protection, User, allowed},
};

/// How long a refusal takes.
const REFUSAL: Duration = Duration::from_millis(500);

/// Users of all paths of a server.
pub(crate) struct Users {
    /// Each user once, with the library's description of it.
    known: Vec<(User, ServerUserToken)>,
}

impl Users {
    /// Reads passwords and certificates. Blocks; the error says what to do about it.
    pub(crate) fn read<'a>(all: impl Iterator<Item = &'a Protection>) -> Result<Self, String> {
        let mut known: Vec<(User, ServerUserToken)> = Vec::new();
        for user in all.map(|p| &p.user) {
            if known.iter().any(|(other, _)| other == user) {
                continue;
            }
            let token = match user {
                User::Anonymous => continue,
                User::Password { name, password } => {
                    ServerUserToken::user_pass(name.as_str(), password.read()?.as_str())
                }
                User::Certificate { cert, .. } => {
                    let read = certificate(cert).map_err(|e| format!("user_cert: {e}"))?;
                    let mut token = ServerUserToken::x509("certificate", cert);
                    token.thumbprint = Some(read.thumbprint());
                    token
                }
            };
            known.push((user.clone(), token));
        }
        Ok(Self { known })
    }

    /// Name of a user within the library's configuration.
    pub(crate) fn id(&self, user: &User) -> String {
        let at = self.known.iter().position(|(other, _)| other == user);
        at.map_or_else(|| ANONYMOUS_USER_TOKEN_ID.to_owned(), |at| format!("user{at}"))
    }

    /// All users by these names.
    pub(crate) fn tokens(&self) -> BTreeMap<String, ServerUserToken> {
        self.known.iter().map(|(user, token)| (self.id(user), token.clone())).collect()
    }
}

/// Lets users in.
pub(crate) struct Doorkeeper {
    users: BTreeMap<String, ServerUserToken>,
    library: DefaultAuthenticator,
}

impl Doorkeeper {
    /// For the users of a configuration.
    pub(crate) fn new(users: BTreeMap<String, ServerUserToken>) -> Self {
        Self { library: DefaultAuthenticator::new(users.clone()), users }
    }

    async fn admit(
        &self,
        endpoint: &ServerEndpoint,
        is: impl Fn(&ServerUserToken) -> bool + Send,
    ) -> Result<UserToken, Error> {
        let mut all = endpoint.user_token_ids.iter();
        if let Some(id) = all.find(|id| self.users.get(*id).is_some_and(&is)) {
            return Ok(UserToken(id.clone()));
        }
        sleep(REFUSAL).await;
        Err(Error::new(StatusCode::BadIdentityTokenRejected, "no such user"))
    }
}

/// Compares without stopping at the first difference.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[async_trait]
impl AuthManager for Doorkeeper {
    async fn authenticate_anonymous_token(&self, endpoint: &ServerEndpoint) -> Result<(), Error> {
        self.library.authenticate_anonymous_token(endpoint).await
    }

    async fn authenticate_username_identity_token(
        &self,
        endpoint: &ServerEndpoint,
        name: &str,
        password: &Password,
    ) -> Result<UserToken, Error> {
        let given = password.get().as_bytes();
        let is = |user: &ServerUserToken| {
            user.user == name && user.pass.as_ref().is_some_and(|p| same(p.as_bytes(), given))
        };
        self.admit(endpoint, is).await
    }

    async fn authenticate_x509_identity_token(
        &self,
        endpoint: &ServerEndpoint,
        thumbprint: &Thumbprint,
    ) -> Result<UserToken, Error> {
        self.admit(endpoint, |user| user.thumbprint.as_ref() == Some(thumbprint)).await
    }

    fn user_token_policies(&self, endpoint: &ServerEndpoint) -> Vec<UserTokenPolicy> {
        let mut policies = self.library.user_token_policies(endpoint);
        // The library (0.19) asks for signatures by Basic128Rsa15, which is off.
        let uri = allowed(&endpoint.security_policy).map_or("", |p| p.to_uri());
        let signed = policies.iter_mut().filter(|p| p.token_type == UserTokenType::Certificate);
        signed.for_each(|policy| policy.security_policy_uri = UAString::from(uri));
        policies
    }
}

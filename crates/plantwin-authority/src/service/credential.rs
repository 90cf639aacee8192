//! What a gateway or a person far away shows to the service, in a file of its own.
//!
//! Text of one line: `plantwin-credential-1 NAME KEY PSK AUTHORITY ROOT`, bytes in hexadecimal. The
//! key is made where the file is written; the authority sees its public half only.
//! Absent: reading and writing the file ([`crate::registry::read_private`]).

use plantwin_seal::{DhKey, DhPublic, Secret, VerifyingKey};
use zeroize::Zeroizing;

use crate::{
    AuthError,
    registry::{Admission, hex, unhex},
};

const NAME: &str = "plantwin-credential-1";

/// The content of such a file. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The name under which the authority knows its holder.
    pub name: String,
    /// The holder's key.
    pub dh: DhKey,
    /// The pre-shared key of the channel.
    pub psk: Secret,
    /// The authority's key.
    pub authority: DhPublic,
    /// The plant's root key.
    pub root: VerifyingKey,
}

impl Credential {
    /// Longest content, in bytes.
    pub const LIMIT: u64 = 1024;

    /// Of the holder of `dh`, whom the authority admitted.
    ///
    /// # Errors
    /// [`AuthError::Seal`] if the root key is none.
    pub fn new(name: &str, dh: DhKey, admission: &Admission) -> Result<Self, AuthError> {
        Ok(Self {
            name: name.to_owned(),
            dh,
            psk: admission.psk.secret().clone(),
            authority: admission.authority,
            root: VerifyingKey::from_bytes(&admission.root)?,
        })
    }

    /// The content of the file.
    pub fn to_text(&self) -> Zeroizing<String> {
        let (key, psk) = (hex(self.dh.expose()), hex(self.psk.expose()));
        let (authority, root) = (hex(self.authority.as_bytes()), hex(self.root.as_bytes()));
        let (key, psk, authority, root) = (&*key, &*psk, &*authority, &*root);
        Zeroizing::new(format!("{NAME} {} {key} {psk} {authority} {root}\n", self.name))
    }

    /// Reads the content of a file.
    ///
    /// # Errors
    /// [`AuthError::Malformed`].
    pub fn from_text(text: &str) -> Result<Self, AuthError> {
        let wrong = AuthError::Malformed("this is no credential file of plantwin");
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [NAME, name, key, psk, authority, root] = words.as_slice() else {
            return Err(wrong);
        };
        let bytes = |word: &str| unhex::<32>(word).map(Zeroizing::new).ok_or(wrong.clone());
        Ok(Self {
            name: (*name).to_owned(),
            dh: DhKey::from_bytes(&*bytes(key)?),
            psk: Secret::new(*bytes(psk)?),
            authority: DhPublic::from_bytes(*bytes(authority)?),
            root: VerifyingKey::from_bytes(&*bytes(root)?).map_err(|_| wrong)?,
        })
    }
}

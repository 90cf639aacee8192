//! A signed checkpoint as text, in the form of a C2SP signed note (tlog-checkpoint, signed-note).
//!
//! Three lines (origin, size, hash in base64), then lines of our own: how the hash is made, the
//! boot, the time in ns since 1970, and the keys, so that whoever has the note and the identity can
//! judge it. Then an empty line and the signature of the boot's key over all of it. Further
//! signatures (of witnesses) may follow; they are skipped. Absent: checking them.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use plantwin_model::Timestamp;
use ring::digest;

use super::{ChainHash, ChainState, Checkpoint, certified};
use crate::{SealError, Signature, VerifyingKey};

const CHAIN: &str = "chain blake3 h=H(\"plantwin audit\",h,record)";
/// Longest note that is read: witnesses may have added signatures.
const NOTE_LIMIT: usize = 16 << 10;

/// A checkpoint with its signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckpointNote {
    checkpoint: Checkpoint,
    identity: VerifyingKey,
    key: VerifyingKey,
    certificate: Signature,
    signature: Signature,
}

impl CheckpointNote {
    pub(super) fn new(
        checkpoint: Checkpoint,
        identity: VerifyingKey,
        key: VerifyingKey,
        certificate: Signature,
        sign: impl FnOnce(&str) -> Signature,
    ) -> Self {
        // The signature is no part of what is signed.
        let mut note = Self { checkpoint, identity, key, certificate, signature: certificate };
        note.signature = sign(&note.text());
        note
    }

    /// What it says.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Whose trail it is from.
    pub fn identity(&self) -> &VerifyingKey {
        &self.identity
    }

    /// Checks that the identity it names certified its key, and that this key signed it.
    ///
    /// Whether that identity is the right one is for the caller to compare.
    ///
    /// # Errors
    /// [`SealError::Signature`].
    pub fn verify(&self) -> Result<(), SealError> {
        let certified = certified(self.checkpoint.boot, &self.key);
        self.identity.verify_strict(&certified, &self.certificate)?;
        self.key.verify_strict(self.text().as_bytes(), &self.signature)
    }

    /// The whole note, ending with a line break.
    pub fn to_text(&self) -> String {
        format!("{}\n{}", self.text(), self.signature_line())
    }

    /// Reads one note as it was written: nothing may be added, missing or spelled otherwise.
    ///
    /// # Errors
    /// [`SealError::Decode`]. No signature is checked yet.
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let note = Self::lenient(text).ok_or(SealError::Decode)?;
        if note.to_text() == text { Ok(note) } else { Err(SealError::Decode) }
    }

    /// Reads all notes of a file kept elsewhere: one, or one after the other with or without empty
    /// lines between, each with whatever further signatures witnesses added.
    ///
    /// # Errors
    /// [`SealError::Decode`] if there is none, or one is malformed. No signature is checked yet.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, SealError> {
        let text = text.replace("\r\n", "\n");
        let mut notes = Vec::new();
        let mut rest = text.trim_start_matches('\n');
        while !rest.is_empty() {
            let body = rest.find("\n\n").ok_or(SealError::Decode)? + 2;
            let signatures: usize = rest[body..]
                .split_inclusive('\n')
                .take_while(|line| line.starts_with("\u{2014} "))
                .map(str::len)
                .sum();
            let (note, after) = rest.split_at(body + signatures);
            notes.push(Self::lenient(note).ok_or(SealError::Decode)?);
            rest = after.trim_start_matches('\n');
        }
        if notes.is_empty() { Err(SealError::Decode) } else { Ok(notes) }
    }

    fn lenient(note: &str) -> Option<Self> {
        if note.len() > NOTE_LIMIT {
            return None;
        }
        let (text, signatures) = note.split_once("\n\n")?;
        let mut lines = text.split('\n');
        let _origin = lines.next()?;
        let size = lines.next()?.parse().ok()?;
        let hash = ChainHash::from_bytes(decode(lines.next()?)?);
        let _chain = lines.next()?;
        let (boot, state) = lines.next()?.strip_prefix("boot ")?.split_once(' ')?;
        let state = match state {
            "opened" => ChainState::Opened,
            "running" => ChainState::Running,
            "closed" => ChainState::Closed,
            _ => return None,
        };
        let time = Timestamp(lines.next()?.strip_prefix("time ")?.parse().ok()?);
        let identity = public(lines.next()?.strip_prefix("identity ")?)?;
        let key = public(lines.next()?.strip_prefix("key ")?)?;
        let certificate = lines.next()?.strip_prefix("certificate ")?;
        let certificate = Signature::from_bytes(&decode(certificate)?);
        let boot = boot.parse().ok()?;
        let checkpoint = Checkpoint { size, hash, boot, time, state };
        let mut note = Self { checkpoint, identity, key, certificate, signature: certificate };
        // Numbers and base64 have one spelling each; the fixed lines are compared here as well.
        if note.text().strip_suffix('\n') != Some(text) {
            return None;
        }
        let intro = format!("\u{2014} {} ", note.name());
        note.signature = signatures
            .lines()
            .find_map(|line| {
                let bytes: [u8; 68] = decode(line.strip_prefix(&intro)?)?;
                let (id, signature) = bytes.split_first_chunk::<4>()?;
                (*id == note.key_id()).then(|| signature.try_into().ok())?
            })
            .map(|bytes: [u8; 64]| Signature::from_bytes(&bytes))?;
        Some(note)
    }

    /// What is signed: all lines up to the empty one.
    fn text(&self) -> String {
        let Checkpoint { size, hash, boot, time, state } = &self.checkpoint;
        let state = match state {
            ChainState::Opened => "opened",
            ChainState::Running => "running",
            ChainState::Closed => "closed",
        };
        let mut text = String::with_capacity(512);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{}\n{size}\n{}\n{CHAIN}\nboot {boot} {state}\ntime {}\nidentity {}\nkey {}\n\
             certificate {}\n",
            self.origin(),
            STANDARD.encode(hash.as_bytes()),
            time.0,
            STANDARD.encode(self.identity.as_bytes()),
            STANDARD.encode(self.key.as_bytes()),
            STANDARD.encode(self.certificate.to_bytes()),
        );
        text
    }

    fn signature_line(&self) -> String {
        let mut signed = self.key_id().to_vec();
        signed.extend(self.signature.to_bytes());
        format!("\u{2014} {} {}\n", self.name(), STANDARD.encode(signed))
    }

    /// Names the trail: two plants never share it.
    fn origin(&self) -> String {
        let [a, b, c, d, e, f, g, h, ..] = *self.identity.as_bytes();
        format!("plantwin/audit/{:016x}", u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    fn name(&self) -> String {
        format!("{}/boot-{}", self.origin(), self.checkpoint.boot)
    }

    /// C2SP signed-note: the first 4 bytes of SHA-256(name ‖ 0x0A ‖ 0x01 (Ed25519) ‖ public key).
    fn key_id(&self) -> [u8; 4] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(self.name().as_bytes());
        context.update(b"\n\x01");
        context.update(self.key.as_bytes());
        let full = context.finish();
        let mut id = [0; 4];
        id.copy_from_slice(&full.as_ref()[..4]);
        id
    }
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

fn public(text: &str) -> Option<VerifyingKey> {
    VerifyingKey::from_bytes(&decode(text)?).ok()
}

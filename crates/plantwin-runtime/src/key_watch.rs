//! How the key of the data folder is wrapped, for the audit trail.
//!
//! The key is wrapped anew by another process, beside the running plant, which alone can write the
//! trail: so the plant looks at the file and puts on record what it finds. Absent: the key itself,
//! wrapping it (`plantwin_store::rewrap`).

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use plantwin_model::{AuditEntry, AuditKind, AuditResult, AuditSink};
use plantwin_store::key_info;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// Looks at the file of a folder's key.
pub(crate) struct KeyWatch {
    dir: PathBuf,
    /// Hash of the file when it was looked at last: two passphrases look the same otherwise.
    seen: Option<[u8; 32]>,
}

impl KeyWatch {
    pub(crate) const fn new(dir: PathBuf) -> Self {
        Self { dir, seen: None }
    }

    /// How the key is wrapped, if the file is another than at the last look. What cannot be read is
    /// looked at again.
    pub(crate) fn look(&mut self) -> Option<String> {
        let file = fs::read(self.dir.join("key")).ok()?;
        let hash = plantwin_seal::hash(&[b"plantwin v1 key file", &file]);
        if self.seen == Some(hash) {
            return None;
        }
        let info = key_info(&self.dir).ok()?;
        self.seen = Some(hash);
        // Enough to tell one wrapping from the next, and nothing to guess a passphrase by.
        let mark = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
        Some(format!("the data key is {} (key file {mark:08x})", info.wrapping))
    }

    /// Puts on record whatever changes, for ever.
    pub(crate) async fn run(mut self, audit: Arc<dyn AuditSink>, object: String) {
        loop {
            tokio::time::sleep(EVERY).await;
            // A disk that hangs must not hold up what else runs here.
            let look = move || {
                let detail = self.look();
                (self, detail)
            };
            let Ok((watch, detail)) = tokio::task::spawn_blocking(look).await else { return };
            self = watch;
            if let Some(detail) = detail {
                audit.record(AuditEntry {
                    kind: AuditKind::System,
                    actor: "plantwin".to_owned(),
                    object: object.clone(),
                    result: AuditResult::Done,
                    detail: format!("wrapped anew: {detail}"),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use plantwin_store::{KeySource, SledStore, rewrap};

    use super::*;

    #[test]
    fn each_wrapping_is_told_once_and_another_passphrase_is_another_wrapping() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = folder.path();
        let mut watch = KeyWatch::new(dir.to_owned());
        assert_eq!(watch.look(), None, "there is no key yet");
        drop(SledStore::open_with(dir, &KeySource::Plain).expect("a store"));
        let plain = watch.look().expect("a key");
        assert!(plain.contains("the data key is not wrapped"), "{plain}");
        assert_eq!(watch.look(), None);
        let passphrase = |text: &str| KeySource::Passphrase(text.to_owned().into());
        let mut told = vec![plain];
        let steps = [KeySource::Plain, passphrase("one of many"), passphrase("and another one")];
        for pair in steps.windows(2) {
            rewrap(dir, &pair[0], &pair[1]).expect("it is wrapped anew");
            let text = watch.look().expect("another wrapping");
            assert!(text.contains("wrapped by a passphrase") && !told.contains(&text), "{text}");
            assert_eq!(watch.look(), None);
            told.push(text);
        }
    }
}

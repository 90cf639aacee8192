//! Which security policy each side names in its OpenSecureChannel messages.
//!
//! The library (0.19) decrypts such a message by whatever policy its header names, also one that
//! was never configured, with our private key. So whoever could name `Basic128Rsa15` would have
//! the decryption that is to be off; and to name any policy to a side without a certificate ends
//! its task in a panic. The header is in clear, so it is read here, on the way to the library.
//! Absent: everything else in the stream.

/// Type 3, chunk 1, size 4, channel 4, length of the policy 4 (OPC UA Part 6, 6.7.2).
const HEADER: usize = 16;
/// What every chunk begins with.
const START: usize = 8;
/// Longest policy URI, bytes (Part 6, 6.7.2.3).
const LONGEST: u32 = 255;

/// Follows one direction of a connection; fed with its bytes as they come.
#[derive(Default)]
pub(crate) struct OpnWatch {
    /// Beginning of the present chunk, as far as it is needed.
    head: Vec<u8>,
    /// Bytes of the present chunk that do not matter and have not come yet.
    skip: usize,
}

/// What does not follow the format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NotOpcUa;

impl OpnWatch {
    /// Looks at more bytes; gives the policy URIs of the OpenSecureChannel messages whose header
    /// ends in them. The messages themselves are never complete before that.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<Vec<String>, NotOpcUa> {
        let mut policies = Vec::new();
        while !bytes.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len());
                self.skip -= n;
                bytes = &bytes[n..];
                continue;
            }
            let wanted = self.wanted()?;
            let n = wanted.saturating_sub(self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if self.head.len() == self.wanted()? {
                if self.head.starts_with(b"OPN") {
                    let uri = std::str::from_utf8(&self.head[HEADER..]).map_err(|_| NotOpcUa)?;
                    policies.push(uri.to_owned());
                }
                self.skip = self.size().unwrap_or(START) - self.head.len();
                self.head.clear();
            }
        }
        Ok(policies)
    }

    fn number(&self, at: usize) -> Option<u32> {
        self.head.get(at..at + 4)?.first_chunk().map(|b| u32::from_le_bytes(*b))
    }

    /// Size of the present chunk, once its beginning is there.
    fn size(&self) -> Option<usize> {
        self.number(4).map(|size| size as usize)
    }

    /// How much of the present chunk is needed, as far as that is known yet.
    fn wanted(&self) -> Result<usize, NotOpcUa> {
        let Some(size) = self.size() else { return Ok(START) };
        let wanted = if self.head.starts_with(b"OPN") {
            match self.number(HEADER - 4) {
                // Not there yet, or a null string, which is no policy.
                None | Some(u32::MAX) => HEADER,
                Some(length) if length <= LONGEST => HEADER + length as usize,
                Some(_) => return Err(NotOpcUa),
            }
        } else {
            START
        };
        if size < wanted { Err(NotOpcUa) } else { Ok(wanted) }
    }
}

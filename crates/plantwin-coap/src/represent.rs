//! How requests are judged and answers look: options, error answers, representations, paths.
//!
//! Absent: which resources there are and what they hold (see `server`).

use std::fmt::Write as _;

use coap_lite::{CoapOption, Packet, ResponseType, block_handler::BlockValue};
use plantwin_model::PointIx;
use serde_json::{Map, Value};

use crate::message::{self, BLOCK};

/// Whether a resource of these points is a bare number as text.
pub(crate) fn is_text(points: &[(PointIx, Option<String>)]) -> bool {
    matches!(points, [(_, None)])
}

/// Puts a value where a JSON pointer (RFC 6901) says.
pub(crate) fn place(document: &mut Value, pointer: &str, value: Value) {
    let mut at = document;
    for token in pointer.split('/').skip(1) {
        let key = token.replace("~1", "/").replace("~0", "~");
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Some(map) = at.as_object_mut() else { return };
        at = map.entry(key).or_insert(Value::Null);
    }
    *at = value;
}

/// A path as in a URI: what is not unreserved is written as `%XX` (RFC 3986 §2.1).
pub(crate) fn encode_path(path: &str) -> String {
    let mut out = String::from("/");
    for &b in path.as_bytes() {
        if b.is_ascii_alphanumeric() || b"-._~/".contains(&b) {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

/// Refuses what must be understood but is not (RFC 7252 §5.4.1). A request in several `blocks` is
/// understood by some resources only.
pub(crate) fn critical(packet: &Packet, blocks: bool) -> Result<(), (ResponseType, &'static str)> {
    for (&number, values) in packet.options() {
        match CoapOption::from(number) {
            _ if number % 2 == 0 || values.is_empty() => {}
            CoapOption::UriHost
            | CoapOption::UriPort
            | CoapOption::UriPath
            | CoapOption::UriQuery
            | CoapOption::Accept
            | CoapOption::Block2 => {}
            CoapOption::Block1 if blocks => {}
            CoapOption::Block1 => {
                let block = packet.get_first_option_as::<BlockValue>(CoapOption::Block1);
                if !matches!(block, Some(Ok(BlockValue { num: 0, more: false, .. }))) {
                    let text = "send it in one datagram";
                    return Err((ResponseType::RequestEntityTooLarge, text));
                }
            }
            CoapOption::ProxyUri | CoapOption::ProxyScheme => {
                return Err((ResponseType::ProxyingNotSupported, "this is no proxy"));
            }
            _ => return Err((ResponseType::BadOption, "an option is not understood")),
        }
    }
    Ok(())
}

/// An error answer with a diagnostic payload.
pub(crate) fn problem(request: &Packet, code: ResponseType, text: &str) -> Packet {
    let mut packet = message::response(code, request.get_token());
    packet.payload = text.as_bytes().to_vec();
    packet
}

/// The answer to a GET.
pub(crate) fn represent(
    request: &Packet,
    body: &[u8],
    format: u16,
    block: Option<&BlockValue>,
    version: Option<u32>,
) -> Packet {
    let accepts = message::number(request, CoapOption::Accept);
    if accepts.is_some_and(|a| a != u32::from(format)) {
        return problem(request, ResponseType::NotAcceptable, "it has no such format");
    }
    let mut packet = message::response(ResponseType::Content, request.get_token());
    message::set_number(&mut packet, CoapOption::ContentFormat, u32::from(format));
    if let Some(version) = version.filter(|_| body.len() > BLOCK || block.is_some()) {
        packet.add_option(CoapOption::ETag, version.to_be_bytes().to_vec());
    }
    if !message::put_body(&mut packet, body, block) {
        return problem(request, ResponseType::BadRequest, "no such block");
    }
    packet
}

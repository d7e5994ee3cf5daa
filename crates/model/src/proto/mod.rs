//! `application/vnd.kubernetes.protobuf` to [`Value`] and back, driven by the catalogue's tags.
//!
//! Wire form: the four bytes `k8s\0`, then `runtime.Unknown{typeMeta, raw, …}`.

mod ascii;
mod decode;
mod encode;
mod found;
mod wire;

use crate::catalogue::{Catalogue, TypeId, Types};
use crate::{ApiError, Str, Value, limits};
use ascii::Ascii;
use std::sync::Arc;
use wire::{Reader, malformed, put_bytes, put_message};

pub const MAGIC: &[u8; 4] = b"k8s\0";

/// Decodes an enveloped object of any built-in kind; apiVersion and kind come from the envelope.
///
/// # Errors
/// 400 for malformed input or a kind the catalogue does not know.
pub fn decode(catalogue: &Catalogue, bytes: &[u8]) -> Result<Value, ApiError> {
    if bytes.len() > limits::MAX_BODY {
        return Err(ApiError::too_large(format!(
            "Request entity too large: limit is {}",
            limits::MAX_BODY
        )));
    }
    unwrap(catalogue, bytes, &mut 0, 0)
}

/// What an envelope says, before its content is looked at.
#[derive(Debug, Default, PartialEq)]
pub struct Envelope<'a> {
    pub api_version: Str,
    pub kind: Str,
    pub raw: &'a [u8],
}

/// Reads the envelope only.
///
/// # Errors
/// 400 when the bytes are no envelope.
pub fn envelope(bytes: &[u8]) -> Result<Envelope<'_>, ApiError> {
    let Some(unknown) = bytes.strip_prefix(MAGIC.as_slice()) else {
        return Err(ApiError::bad_request(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
        ));
    };
    let mut envelope = Envelope::default();
    let mut reader = Reader::new(unknown);
    while !reader.is_empty() {
        match reader.field()? {
            (1, wire) => {
                let mut meta = Reader::new(wire.bytes("typeMeta")?);
                while !meta.is_empty() {
                    let (tag, wire) = meta.field()?;
                    let text = |wire: wire::Wire<'_>| -> Result<Str, ApiError> {
                        let bytes = wire.bytes("typeMeta")?;
                        Ok(std::str::from_utf8(bytes)
                            .map_err(|_| malformed("typeMeta is not UTF-8"))?
                            .into())
                    };
                    match tag {
                        1 => envelope.api_version = text(wire)?,
                        2 => envelope.kind = text(wire)?,
                        _ => {}
                    }
                }
            }
            (2, wire) => envelope.raw = wire.bytes("raw")?,
            (3, wire) if !wire.bytes("contentEncoding")?.is_empty() => {
                return Err(malformed("encoded content is not supported").into());
            }
            _ => {}
        }
    }
    Ok(envelope)
}

/// The type behind an apiVersion and kind.
fn type_of(catalogue: &Catalogue, api_version: &str, kind: &str) -> Option<(Arc<Types>, TypeId)> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    catalogue.type_of(group, version, kind)
}

fn unwrap(
    catalogue: &Catalogue,
    bytes: &[u8],
    nodes: &mut usize,
    depth: usize,
) -> Result<Value, ApiError> {
    let envelope = envelope(bytes)?;
    let (api_version, kind) = (envelope.api_version, envelope.kind);
    let Some((types, root)) = type_of(catalogue, &api_version, &kind) else {
        let shown =
            format!("no kind {kind:?} is registered for version {api_version:?} in protobuf");
        return Err(ApiError::bad_request(shown));
    };
    let ascii = Ascii::of(envelope.raw);
    let mut decoder = decode::Decoder::new(&types, Some(catalogue), &ascii);
    decoder.nodes = *nodes;
    let mut value = decoder.message(root, envelope.raw, depth).map_err(|e| *e)?;
    *nodes = decoder.nodes;
    value.set(&["apiVersion"], api_version);
    value.set(&["kind"], kind);
    Ok(value)
}

/// Encodes an object (with `apiVersion` and `kind`) with its envelope.
///
/// # Errors
/// 406 when the kind has no protobuf form (custom resources).
pub fn encode(catalogue: &Catalogue, value: &Value) -> Result<Vec<u8>, ApiError> {
    let api_version = value.str_at(&["apiVersion"]).unwrap_or_default();
    let kind = value.str_at(&["kind"]).unwrap_or_default();
    let Some((types, root)) = type_of(catalogue, api_version, kind) else {
        return Err(ApiError::not_acceptable(format!(
            "{kind} of {api_version} has no protobuf form, ask for application/json"
        )));
    };
    let mut out = Vec::with_capacity(1024);
    open_envelope(api_version, kind, &mut out);
    put_message(2, &mut out, |out| write(&types, root, value, out))?;
    close_envelope(&mut out);
    Ok(out)
}

fn open_envelope(api_version: &str, kind: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    let typed: Result<(), ApiError> = put_message(1, out, |out| {
        put_bytes(1, api_version.as_bytes(), out);
        put_bytes(2, kind.as_bytes(), out);
        Ok(())
    });
    debug_assert!(typed.is_ok());
}

fn close_envelope(out: &mut Vec<u8>) {
    put_bytes(3, b"", out);
    put_bytes(4, b"", out);
}

fn write(types: &Types, root: TypeId, value: &Value, out: &mut Vec<u8>) -> Result<(), ApiError> {
    let (Some(s), Some(map)) = (types.structure(root), value.as_object()) else {
        return Err(ApiError::internal("only objects have a protobuf form"));
    };
    encode::structure(types, s, map, out)
}

/// A watch event around an object in its own envelope (or a JSON one); the stream's framing (four
/// bytes of length before each event) is the server's.
#[must_use]
pub fn watch_event(event: &str, object: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(object.len() + 32);
    put_bytes(1, event.as_bytes(), &mut out);
    let written: Result<(), ApiError> = put_message(2, &mut out, |out| {
        put_bytes(1, object, out);
        Ok(())
    });
    debug_assert!(written.is_ok());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strict::tests::sample_types;
    use crate::value;

    /// Messages without their envelope.
    fn encode_message(types: &Types, root: TypeId, value: &Value) -> Result<Vec<u8>, ApiError> {
        let mut out = Vec::new();
        write(types, root, value, &mut out)?;
        Ok(out)
    }

    fn decode_message(types: &Types, root: TypeId, bytes: &[u8]) -> Result<Value, ApiError> {
        let ascii = Ascii::of(bytes);
        decode::Decoder::new(types, None, &ascii)
            .message(root, bytes, 0)
            .map_err(|e| *e)
    }

    fn sample() -> Value {
        let (types, root) = sample_types();
        let mut value = value!({
            "metadata": {"name": "n", "labels": {"b": "2", "a": "1"}, "creationTimestamp": "2024-01-01T00:00:00Z"},
            "spec": {
                "replicas": (-3),
                "data": "Zm9v",
                "containers": [
                    {"name": "c", "image": "i", "tty": true, "limits": {"cpu": "100m"}, "port": "http"},
                    {"name": "d", "port": 80},
                    {"name": "", "port": 0}
                ]
            },
            "status": {"phase": "Running"}
        });
        crate::strict::shape(&types, root, &mut value);
        value
    }

    #[test]
    fn messages_go_there_and_back() {
        let (types, root) = sample_types();
        let value = sample();
        let bytes = encode_message(&types, root, &value).unwrap();
        assert_eq!(decode_message(&types, root, &bytes).unwrap(), value);
    }

    #[test]
    fn zero_values_and_unknown_fields_are_left_out_as_in_go() {
        let (types, root) = sample_types();
        let mut bytes = Vec::new();
        // metadata{name: "", creationTimestamp: {}}, and a field 99 that nobody knows
        put_bytes(1, &[0x0a, 0x00, 0x1a, 0x00], &mut bytes);
        wire::put_integer(99, 7, &mut bytes);
        let value = decode_message(&types, root, &bytes).unwrap();
        assert_eq!(
            value,
            value!({"metadata": {}, "spec": {"containers": null}, "status": {}})
        );
    }

    #[test]
    fn what_comes_again_replaces_or_joins_what_was_there() {
        let (types, root) = sample_types();
        let pair = |key: &str, value: &str| {
            let mut pair = Vec::new();
            put_bytes(1, key.as_bytes(), &mut pair);
            put_bytes(2, value.as_bytes(), &mut pair);
            pair
        };
        let mut metadata = Vec::new();
        for name in ["first", "na\u{ef}ve", "last"] {
            put_bytes(1, name.as_bytes(), &mut metadata);
        }
        for (key, value) in [("b", "1"), ("a", "na\u{ef}ve"), ("b", "2"), ("", "")] {
            put_bytes(2, &pair(key, value), &mut metadata);
        }
        // again, after others
        put_bytes(1, b"very last", &mut metadata);
        let mut bytes = Vec::new();
        put_bytes(1, &metadata, &mut bytes);
        let value = decode_message(&types, root, &bytes).unwrap();
        let want = value!({"name": "very last", "labels": {"": "", "a": "na\u{ef}ve", "b": "2"}});
        assert_eq!(value.get("metadata"), Some(&want));
        let mut bytes = Vec::new();
        put_bytes(1, &metadata[..metadata.len() - 11], &mut bytes);
        let value = decode_message(&types, root, &bytes).unwrap();
        assert_eq!(value.str_at(&["metadata", "name"]), Some("last"));
    }

    /// However the items of a list are strewn over a message, they are the same list.
    #[test]
    fn items_of_a_list_may_come_in_a_row_or_apart() {
        let (types, root) = sample_types();
        let container = |name: &str| {
            let mut bytes = Vec::new();
            put_bytes(1, name.as_bytes(), &mut bytes);
            bytes
        };
        let names = [
            "a",
            "b",
            "",
            "a name of more than a hundred and twenty-seven bytes: "
                .repeat(3)
                .leak(),
        ];
        // after each item: nothing; a field that nobody knows; one that is written with more bytes
        // than it takes; another field, which comes again
        let unknown: &[u8] = &[0xf8, 0x7f, 0x07];
        let longer: &[u8] = &[0x90, 0x80, 0x00, 0x03];
        let other: &[u8] = &[0x10, 0x03];
        for between in [&[], unknown, longer, other] {
            for key in [&[0x0a_u8][..], &[0x8a, 0x00]] {
                let mut spec = Vec::new();
                for name in names {
                    let item = container(name);
                    spec.extend_from_slice(key);
                    wire::put_varint(item.len() as u64, &mut spec);
                    spec.extend_from_slice(&item);
                    spec.extend_from_slice(between);
                }
                let mut bytes = Vec::new();
                put_bytes(2, &spec, &mut bytes);
                let value = decode_message(&types, root, &bytes).unwrap();
                let items = value.at(&["spec", "containers"]).and_then(Value::as_array);
                let items = items.unwrap().iter().map(|c| c.str_at(&["name"]).unwrap());
                assert!(items.eq(names), "{between:?} {key:?}");
                let replicas = value.at(&["spec", "replicas"]).and_then(Value::as_i64);
                assert_eq!(
                    replicas,
                    (between.len() % 2 == 0 && !between.is_empty()).then_some(3)
                );
            }
        }
    }

    /// apimachinery `pkg/apis/meta/v1/time_proto.go`: no bytes are no time, zeros are 1970.
    #[test]
    fn the_epoch_is_a_time() {
        let (types, root) = sample_types();
        let mut bytes = Vec::new();
        put_bytes(1, &[0x1a, 0x04, 0x08, 0x00, 0x10, 0x00], &mut bytes);
        let value = decode_message(&types, root, &bytes).unwrap();
        assert_eq!(
            value.str_at(&["metadata", "creationTimestamp"]),
            Some("1970-01-01T00:00:00Z")
        );
        let again = encode_message(&types, root, &value).unwrap();
        assert_eq!(decode_message(&types, root, &again).unwrap(), value);
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_survived() {
        let (types, root) = sample_types();
        let bytes = encode_message(&types, root, &sample()).unwrap();
        for end in 0..bytes.len() {
            let _ = decode_message(&types, root, &bytes[..end]);
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                let _ = decode_message(&types, root, &bad);
            }
        }
    }

    #[test]
    fn hostile_sizes_are_refused() {
        let (types, root) = sample_types();
        // spec.containers: 2 bytes each
        let spec = [0x0a, 0x00].repeat(limits::MAX_NODES + 1);
        let mut bytes = Vec::new();
        put_bytes(2, &spec, &mut bytes);
        assert_eq!(
            decode_message(&types, root, &bytes).err().map(|e| e.code),
            Some(413)
        );
        // a length far beyond the end
        assert_eq!(
            decode_message(&types, root, &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f])
                .err()
                .map(|e| e.code),
            Some(400)
        );
        assert_eq!(
            decode_message(&types, root, &[0xff; 32])
                .err()
                .map(|e| e.code),
            Some(400)
        );
        assert!(envelope(b"{}").is_err());
    }
}

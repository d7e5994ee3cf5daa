//! What types and fields mean, in upstream's words.
//!
//! The build script takes the texts from a dependency; they are kept deflated (one copy for the
//! whole process) and unpacked while a document is written, which is then cached.

use std::collections::HashMap;
use std::sync::LazyLock;

const PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.deflate"));
/// The texts are about a megabyte; the bound keeps the decoder honest.
const MAX_UNPACKED: usize = 16 * 1024 * 1024;

/// Changes whenever the texts do.
pub(super) static FINGERPRINT: LazyLock<u64> = LazyLock::new(|| {
    PACKED.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
});

/// All texts, unpacked.
pub(super) struct Texts {
    all: String,
    /// where the lines of a type begin and end
    types: HashMap<String, (usize, usize)>,
}

impl Texts {
    pub(super) fn unpack() -> Self {
        let bytes = miniz_oxide::inflate::decompress_to_vec_with_limit(PACKED, MAX_UNPACKED);
        let all = bytes
            .ok()
            .and_then(|b| String::from_utf8(b).ok())
            .unwrap_or_default();
        let mut types = HashMap::new();
        let mut at = 0;
        for part in all.split_inclusive('%') {
            // A `%` begins a type only at the start of a line.
            at += part.len();
            if at == 1 || all[..at].ends_with("\n%") {
                let end = all[at..].find("\n%").map_or(all.len(), |i| at + i + 1);
                let name_end = all[at..].find('\n').map_or(end, |i| at + i);
                types.insert(all[at..name_end].to_owned(), (name_end, end));
            }
        }
        Self { all, types }
    }

    /// The description of a type (`field` empty) or of one of its fields.
    pub(super) fn get(&self, name: &str, field: &str) -> Option<String> {
        let (from, to) = self.types.get(name)?;
        let line = self.all[*from..*to].lines().find_map(|line| {
            line.strip_prefix(field)
                .and_then(|rest| rest.strip_prefix('\t'))
        })?;
        Some(line.replace('\u{1}', "\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_fields_are_described_in_upstreams_words() {
        let texts = Texts::unpack();
        let pod_spec = "io.k8s.api.core.v1.PodSpec";
        assert_eq!(
            texts.get(pod_spec, "").as_deref(),
            Some("PodSpec is a description of a pod.")
        );
        let containers = texts.get(pod_spec, "containers").expect("a text");
        assert!(containers.starts_with("List of containers belonging to the pod."));
        assert_eq!(texts.get(pod_spec, "nonsense"), None);
        // a text of several paragraphs
        assert!(
            texts
                .get(pod_spec, "hostnameOverride")
                .is_some_and(|t| t.contains("\n\n"))
        );
    }
}

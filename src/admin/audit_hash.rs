//! What binds an entry of the audit log to its content and to the entry before.

use prost::Message;
use sha2::Digest;
use sha2::Sha256;

use crate::admin::pb::AuditEntry;

/// The hash of an entry: SHA-256 of its protobuf encoding without its own hash. It covers the hash of the entry
/// before, so whoever changes one entry must change all that follow.
#[must_use]
pub fn audit_hash(entry: &AuditEntry) -> [u8; 32] {
    let bare = AuditEntry { hash: String::new(), ..entry.clone() };
    Sha256::digest(bare.encode_to_vec()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_hash_covers_all_but_itself() {
        let entry = AuditEntry {
            sequence: 2,
            time: Some(prost_types::Timestamp { seconds: 1, nanos: 2 }),
            actor: "ci".into(),
            previous: "ab".into(),
            ..AuditEntry::default()
        };
        // The fields by hand: 1 varint 2; 2 {1: 1, 2: 2}; 3 "ci"; 11 "ab".
        let encoded = b"\x08\x02\x12\x04\x08\x01\x10\x02\x1a\x02ci\x5a\x02ab";
        assert_eq!(hex(&audit_hash(&entry)), hex(&Sha256::digest(encoded)));

        let signed = AuditEntry { hash: "00".into(), ..entry.clone() };
        assert_eq!(audit_hash(&signed), audit_hash(&entry));
        let changes = [
            AuditEntry { sequence: 3, ..entry.clone() },
            AuditEntry { time: None, ..entry.clone() },
            AuditEntry { actor: "cj".into(), ..entry.clone() },
            AuditEntry { role: "admin".into(), ..entry.clone() },
            AuditEntry { peer: "127.0.0.1".into(), ..entry.clone() },
            AuditEntry { method: "x".into(), ..entry.clone() },
            AuditEntry { target: "x".into(), ..entry.clone() },
            AuditEntry { before: "x".into(), ..entry.clone() },
            AuditEntry { after: "x".into(), ..entry.clone() },
            AuditEntry { note: "x".into(), ..entry.clone() },
            AuditEntry { previous: "ac".into(), ..entry.clone() },
        ];
        for change in changes {
            assert_ne!(audit_hash(&change), audit_hash(&entry), "{change:?}");
        }
    }
}

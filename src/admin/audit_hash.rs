//! The hash that chains the entries of the audit log.

use prost::Message;
use sha2::Digest;
use sha2::Sha256;

use crate::admin::pb;

/// The hash of an entry: SHA-256 of its protobuf encoding, fields in the order of their numbers, without `hash`.
/// `previous` is part of it, so an entry that was changed or left out breaks the chain behind it.
pub fn audit_hash(entry: &pb::AuditEntry) -> [u8; 32] {
    let bare = pb::AuditEntry { hash: String::new(), ..entry.clone() };
    Sha256::digest(bare.encode_to_vec()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_the_hash_itself_counts() {
        let entry = pb::AuditEntry { sequence: 1, actor: "ops".into(), ..Default::default() };
        let hash = audit_hash(&entry);
        assert_eq!(audit_hash(&pb::AuditEntry { hash: "x".into(), ..entry.clone() }), hash);
        for other in [
            pb::AuditEntry { sequence: 2, ..entry.clone() },
            pb::AuditEntry { actor: "other".into(), ..entry.clone() },
            pb::AuditEntry { previous: "00".into(), ..entry.clone() },
        ] {
            assert_ne!(audit_hash(&other), hash);
        }
    }
}

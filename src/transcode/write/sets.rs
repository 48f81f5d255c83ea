//! Message sets: the wire format that proto2 once had for messages of nothing but extensions.

use crate::transcode::plan::Message;
use crate::transcode::text::wire as put;
use crate::transcode::write::Writer;
use crate::transcode::write::fault::Fault;
use crate::transcode::write::wire::Raw;
use crate::transcode::write::wire::Wire;

impl Writer<'_, '_> {
    /// A message set is its extensions, each in a group that names it.
    pub(super) fn message_set(&mut self, plan: &Message, bytes: &[u8]) -> Result<(), Fault> {
        let plain = plain(bytes)?;
        self.object(plan, &plain)
    }
}

/// A message set as the message that it stands for: each item a field of its type id.
pub(super) fn plain(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut wire = Wire::new(bytes);
    while let Some((number, raw)) = wire.next()? {
        let (1, Raw::Group(item)) = (number, raw) else { continue };
        let (mut id, mut content) = (None, Vec::new());
        let mut wire = Wire::new(item);
        while let Some((number, raw)) = wire.next()? {
            match (number, raw) {
                (2, Raw::Varint(value)) => id = u32::try_from(value).ok(),
                (3, Raw::Bytes(bytes)) => content.extend_from_slice(bytes),
                _ => {}
            }
        }
        if let Some(id) = id.filter(|id| (1..=NUMBER_MAX).contains(id)) {
            put::tag(id, put::WireType::Len, &mut plain);
            put::delimited(&content, &mut plain);
        }
    }
    Ok(plain)
}

/// The largest field number.
const NUMBER_MAX: u32 = (1 << 29) - 1;

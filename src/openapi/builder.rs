//! What every part of a document draws on: the module, the options, the components asked for, the budget.

use std::collections::HashSet;
use std::collections::VecDeque;

use prost_reflect::EnumDescriptor;
use prost_reflect::FieldDescriptor;
use prost_reflect::MessageDescriptor;

use crate::openapi::Options;
use crate::openapi::node::Object;
use crate::openapi::notes;
use crate::schema::Schema;

/// A document in the making.
pub(super) struct Builder<'a> {
    pub(super) schema: &'a Schema,
    pub(super) options: Options<'a>,
    /// Bytes that may still be spent on descriptions and on what is written for each rule.
    left: usize,
    /// Names of the component schemas asked for so far.
    asked: HashSet<Box<str>>,
    /// Those not written yet. Schemas refer to each other, so that nothing recurs into itself.
    pub(super) waiting: VecDeque<Component>,
    /// Those written.
    pub(super) schemas: Vec<(String, Object)>,
    /// The responses for failed calls, by name.
    pub(super) responses: Vec<(&'static str, Object)>,
}

/// A schema of the components.
pub(super) enum Component {
    Message(MessageDescriptor),
    Enum(EnumDescriptor),
}

impl<'a> Builder<'a> {
    pub(super) fn new(schema: &'a Schema, options: Options<'a>) -> Self {
        Self {
            schema,
            options,
            left: REPEATED_BYTES_MAX,
            asked: HashSet::new(),
            waiting: VecDeque::new(),
            schemas: Vec::new(),
            responses: Vec::new(),
        }
    }

    /// Takes bytes from the budget; false where it is used up.
    pub(super) fn spend(&mut self, bytes: usize) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => return false,
        }
        true
    }

    /// Fills the budget anew, for what is written once and so is bounded by the module's own size.
    pub(super) fn refill(&mut self) {
        self.left = ONCE_BYTES_MAX;
    }

    /// A reference to the message's schema.
    pub(super) fn message(&mut self, message: &MessageDescriptor) -> Object {
        if self.asked.insert(message.full_name().into()) {
            self.waiting.push_back(Component::Message(message.clone()));
        }
        reference(message.full_name())
    }

    /// A reference to the enum's schema.
    pub(super) fn enumeration(&mut self, declared: &EnumDescriptor) -> Object {
        if self.asked.insert(declared.full_name().into()) {
            self.waiting.push_back(Component::Enum(declared.clone()));
        }
        reference(declared.full_name())
    }

    /// A reference to a schema that is no message's; `make` is called for the first one of the name.
    pub(super) fn other(&mut self, name: &str, make: impl FnOnce(&mut Self) -> Object) -> Object {
        if self.asked.insert(name.into()) {
            let schema = make(self);
            self.schemas.push((name.to_owned(), schema));
        }
        reference(name)
    }

    /// A name for a schema that is no message's: `name`, unless the module declares something of that name.
    pub(super) fn free_name(&self, name: &str) -> String {
        let pool = self.schema.pool();
        let is_taken = pool.get_message_by_name(name).is_some() || pool.get_enum_by_name(name).is_some();
        // No name of protobuf has a hyphen.
        if is_taken { format!("{name}-1") } else { name.to_owned() }
    }

    /// What a comment says, without the marks of tools.
    pub(super) fn comment(&self, file: &str, path: &[i32]) -> Option<String> {
        self.schema.comment(file, path).and_then(notes::clean)
    }

    pub(super) fn field_comment(&self, field: &FieldDescriptor) -> Option<String> {
        self.comment(field.parent_file().name(), field.path())
    }

    /// Sets the description, if there is one and it can be afforded.
    pub(super) fn describe(&mut self, object: &mut Object, text: Option<&str>) {
        if let Some(text) = text.filter(|text| !text.is_empty() && self.spend(text.len())) {
            object.set("description", text.to_owned());
        }
    }

    /// What a field is called in JSON.
    pub(super) fn name(&self, field: &FieldDescriptor) -> String {
        if self.options.preserve_names { field.name().to_owned() } else { field.json_name().to_owned() }
    }
}

fn reference(name: &str) -> Object {
    Object::new().with("$ref", format!("#/components/schemas/{name}"))
}

/// What operations may take by their descriptions, parameters and bodies without the fields of the path.
const REPEATED_BYTES_MAX: usize = 32 << 20;
/// What the descriptions of messages, fields and enums may take.
const ONCE_BYTES_MAX: usize = 64 << 20;

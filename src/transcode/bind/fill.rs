//! Writes fields from texts: those of path variables, and of the parameters of a query or a form.

use crate::transcode::bind::BindOptions;
use crate::transcode::bind::claims::Claims;
use crate::transcode::bind::claims::Rival;
use crate::transcode::bind::fault::Faults;
use crate::transcode::bind::fault::shown;
use crate::transcode::bind::multipart::Part;
use crate::transcode::bind::names::Scope;
use crate::transcode::bind::names::Step;
use crate::transcode::bind::pairs::Pair;
use crate::transcode::bind::pairs::decode;
use crate::transcode::bind::pairs::pairs;
use crate::transcode::plan::Field;
use crate::transcode::plan::Kind;
use crate::transcode::plan::Plans;
use crate::transcode::plan::Presence;
use crate::transcode::plan::Shape;
use crate::transcode::plan::Tag;
use crate::transcode::read::Unknown;
use crate::transcode::text;
use crate::transcode::text::Bools;
use crate::transcode::text::Problem;
use crate::transcode::text::number;
use crate::transcode::text::wire;
use crate::transcode::text::wire::WireType;

/// The fields of one request as they are written.
pub(super) struct Fill<'p, 'o, 'b> {
    scope: Scope<'p, 'b>,
    options: &'o BindOptions,
    /// The field of the request that the names are within, if not the request itself.
    prefix: Option<Step<'p>>,
    /// The field of the request that is the body's, which no name may mean.
    taken: Option<usize>,
    claims: Claims,
    steps: Vec<Step<'p>>,
    parameters: usize,
    pub(super) faults: Faults,
}

impl<'p, 'o, 'b> Fill<'p, 'o, 'b> {
    pub(super) fn new(scope: Scope<'p, 'b>, options: &'o BindOptions) -> Self {
        Self {
            scope,
            options,
            prefix: None,
            taken: None,
            claims: Claims::default(),
            steps: Vec::new(),
            parameters: 0,
            faults: Faults::default(),
        }
    }

    /// Names are within `prefix`, a field of the request.
    pub(super) fn within(self, prefix: Step<'p>) -> Self {
        Self { prefix: Some(prefix), ..self }
    }

    /// Names are not within `body`, a field of the request that the body sets.
    pub(super) fn beside(mut self, body: Step<'p>) -> Self {
        // It can't fail: nothing else is claimed yet, or the rule would not have compiled.
        let _ = self.claims.claim(&[body]);
        self.taken = Some(body.index);
        self
    }

    /// Remembers that a field is set; the rule was compiled, so it is the first.
    pub(super) fn claim(&mut self, steps: impl Iterator<Item = Step<'p>>) {
        self.steps.clear();
        self.steps.extend(steps);
        let _ = self.claims.claim(&self.steps);
    }

    /// Writes the field of a path variable.
    pub(super) fn variable(
        &mut self,
        path: &str,
        steps: impl Iterator<Item = Step<'p>>,
        text: &str,
        out: &mut Vec<u8>,
    ) {
        self.steps.clear();
        self.steps.extend(steps);
        if let Err(problem) = write_leaf(self.scope.plans, &self.steps, text, self.bools(), out) {
            self.faults.push(path, format!("{} {problem}", shown(text)));
        }
    }

    /// Writes the fields of all parameters of a query or a form.
    pub(super) fn parameters(&mut self, text: &str, out: &mut Vec<u8>) {
        for pair in pairs(text) {
            if !self.count() {
                return;
            }
            self.pair(pair, out);
            if self.faults.is_full() {
                return;
            }
        }
    }

    /// Counts a parameter; false if it is one too many.
    pub(super) fn count(&mut self) -> bool {
        self.parameters += 1;
        if self.parameters <= self.options.parameters_max {
            return true;
        }
        let max = self.options.parameters_max;
        self.faults.push("", format!("more than {max} parameters: send them in a JSON body, or in parts"));
        false
    }

    fn pair(&mut self, pair: Pair<'_>, out: &mut Vec<u8>) {
        let name = match decode(pair.name) {
            Ok(name) => name,
            Err(problem) => return self.faults.push(pair.name, format!("the name {problem}")),
        };
        if self.options.ignores(&name) || !self.resolve(&name) {
            return;
        }
        match decode(pair.value) {
            Ok(value) => self.set(&name, &value, pair.value.contains('+'), out),
            Err(problem) => self.faults.push(&name, format!("{} {problem}", shown(pair.value))),
        }
    }

    /// Writes the field that a part of a `multipart/form-data` body means.
    pub(super) fn part(&mut self, part: &Part<'_>, out: &mut Vec<u8>) {
        if self.options.ignores(&part.name) {
            return;
        }
        self.steps.clear();
        self.steps.extend(self.prefix);
        let within = self.scope.walk(&part.name, &mut self.steps);
        let held =
            self.steps.last().filter(|_| within.is_ok()).map(|leaf| held(self.scope.plans, leaf.field));
        match (held, part.is_file) {
            (Some(Held::Raw), true) | (Some(Held::Body), _) => {}
            (Some(_), true) => {
                let what = "is sent as a file, but the field is neither bytes nor a google.api.HttpBody";
                return self.faults.push(&part.name, what);
            }
            _ => return self.text_part(part, out),
        }
        if let Ok(Some(_)) = within {
            let what = "is in part set by the path of the request: leave it out here";
            return self.faults.push(&part.name, what);
        }
        if let Err(rival) = self.claims.claim(&self.steps) {
            return self.faults.push(&part.name, told(rival));
        }
        let begin = out.len();
        if let Some(Held::Body) = held {
            wire::tag(CONTENT_TYPE, WireType::Len, out);
            wire::delimited(part.content_type.as_bytes(), out);
            wire::tag(DATA, WireType::Len, out);
            wire::delimited(part.content, out);
            return enclose(&self.steps, begin, out);
        }
        if let Some((leaf, parents)) = self.steps.split_last() {
            begin_leaf(leaf.field, out);
            let value = out.len();
            wire::delimited(part.content, out);
            end_leaf(leaf.field, begin, value, out);
            enclose(parents, begin, out);
        }
    }

    fn text_part(&mut self, part: &Part<'_>, out: &mut Vec<u8>) {
        if !self.resolve(&part.name) {
            return;
        }
        match std::str::from_utf8(part.content) {
            Ok(text) if part.is_utf8 => self.set(&part.name, text, false, out),
            _ => self.faults.push(&part.name, "is not sent as UTF-8: send text in UTF-8"),
        }
    }

    /// Finds the field that `name` means; false if there is none to set.
    fn resolve(&mut self, name: &str) -> bool {
        self.steps.clear();
        self.steps.extend(self.prefix);
        let refused = self.scope.resolve(name, &mut self.steps).err();
        let is_taken = self.taken.is_some() && self.steps.first().map(|step| step.index) == self.taken;
        match refused {
            _ if is_taken => self.faults.push(name, "is set by the body of the request: leave it out here"),
            None => return true,
            Some(refused) if refused.is_unknown() && self.options.unknown_query == Unknown::Ignore => {}
            Some(refused) if self.faults.is_lavish() => self.faults.push(name, refused.into_sentence()),
            Some(refused) => self.faults.push(name, refused.into_plain_sentence()),
        }
        false
    }

    /// Writes the field that was resolved.
    fn set(&mut self, name: &str, text: &str, has_plus: bool, out: &mut Vec<u8>) {
        let Some(leaf) = self.steps.last() else { return };
        if self.options.unknown_query == Unknown::Ignore && names_no_value(self.scope.plans, leaf.field, text)
        {
            return;
        }
        if let Err(rival) = self.claims.claim(&self.steps) {
            return self.faults.push(name, told(rival));
        }
        if let Err(problem) = write_leaf(self.scope.plans, &self.steps, text, self.bools(), out) {
            let plus = if has_plus { " (a + stands for a space here: write a plus as %2B)" } else { "" };
            self.faults.push(name, format!("{} {problem}{plus}", shown(text)));
        }
    }

    fn bools(&self) -> Bools {
        if self.options.lenient_bool { Bools::ZeroOne } else { Bools::Strict }
    }
}

/// What a field can take from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Its bytes.
    Raw,
    /// Its bytes and its type, as a `google.api.HttpBody`.
    Body,
    /// Nothing.
    Other,
}

fn held(plans: &Plans, field: &Field) -> Held {
    match (field.kind, field.shape) {
        (Kind::Bytes, _) => Held::Raw,
        (Kind::Message(id), Shape::Single | Shape::Repeated { .. })
            if &*plans.message(id).name == "google.api.HttpBody" =>
        {
            Held::Body
        }
        _ => Held::Other,
    }
}

/// Whether `text` is for an enum, but neither a number nor a name of it.
fn names_no_value(plans: &Plans, field: &Field, text: &str) -> bool {
    let Kind::Enum(id) = field.kind else { return false };
    plans.enumeration(id).number(text.as_bytes()).is_none() && number::whole(text.as_bytes()).is_err()
}

#[cold]
fn told(rival: Rival) -> String {
    match rival {
        Rival::Itself => "is there twice, but holds one value: send it once".to_owned(),
        Rival::Member(other) => format!("is of the same oneof as {other}, which is set too: send only one"),
    }
}

/// Appends a field, and around it the messages that it is in. A parser merges these with what else there
/// is of them.
fn write_leaf(
    plans: &Plans,
    steps: &[Step<'_>],
    text: &str,
    bools: Bools,
    out: &mut Vec<u8>,
) -> Result<(), Problem> {
    let Some((leaf, parents)) = steps.split_last() else { return Ok(()) };
    let begin = out.len();
    begin_leaf(leaf.field, out);
    let value = out.len();
    if let Err(problem) = text::write_scalar(plans, &leaf.field.kind, text, bools, out) {
        out.truncate(begin);
        return Err(problem);
    }
    end_leaf(leaf.field, begin, value, out);
    enclose(parents, begin, out);
    Ok(())
}

/// Appends the tag of one value.
fn begin_leaf(field: &Field, out: &mut Vec<u8>) {
    match field.shape {
        // Values of a list come one by one, so they are not packed, which every parser takes.
        Shape::Repeated { packed: true } => {
            out.extend_from_slice(Tag::new(field.number, field.kind.wire_type()).bytes());
        }
        _ => out.extend_from_slice(field.tag.bytes()),
    }
}

/// Takes a field away again that begins at `begin` and whose value, at `value`, is not to be written.
fn end_leaf(field: &Field, begin: usize, value: usize, out: &mut Vec<u8>) {
    let is_default = out[value..].iter().all(|byte| *byte == 0);
    if is_default && field.presence == Presence::Implicit && field.shape == Shape::Single {
        out.truncate(begin);
    }
}

/// Puts the messages of `parents` around what was written since `begin`, the last innermost.
fn enclose(parents: &[Step<'_>], begin: usize, out: &mut Vec<u8>) {
    for parent in parents.iter().rev() {
        let mut header = [0; HEADER_BYTES_MAX];
        let tag = parent.field.tag.bytes();
        header[..tag.len()].copy_from_slice(tag);
        let mut len = tag.len();
        if let Kind::Group(_) = parent.field.kind {
            out.extend_from_slice(Tag::new(parent.field.number, END_GROUP).bytes());
        } else {
            let mut left = (out.len() - begin) as u64;
            for _ in 1..wire::varint_len(left) {
                header[len] = left.to_le_bytes()[0] | 0x80;
                left >>= 7;
                len += 1;
            }
            header[len] = left.to_le_bytes()[0];
            len += 1;
        }
        out.splice(begin..begin, header[..len].iter().copied());
    }
}

/// Fields of google/api/httpbody.proto.
const CONTENT_TYPE: u32 = 1;
const DATA: u32 = 2;
const END_GROUP: u8 = 4;
/// A tag and a length.
const HEADER_BYTES_MAX: usize = 15;

//! Frames reply messages as a JSON array, as lines or as server-sent events.

use crate::bridge::rest::negotiate::StreamForm;

/// Writes one reply stream. It appends to what the caller sends; it keeps no bytes.
#[derive(Debug, Clone)]
pub struct StreamWriter {
    form: StreamForm,
    messages: u64,
}

/// How the response ends after the last bytes of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// In order: the body says how the call ended.
    Done,
    /// Abnormally, so that what was sent doesn't look complete.
    Abort,
}

impl StreamWriter {
    /// A stream of no messages yet.
    pub fn new(form: StreamForm) -> Self {
        Self { form, messages: 0 }
    }

    /// The form.
    pub fn form(&self) -> StreamForm {
        self.form
    }

    /// Messages written so far.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Appends the next message, which `json` appends as one JSON text.
    ///
    /// # Errors
    /// What `json` returns; nothing is appended then, and the message doesn't count.
    pub fn message<E>(
        &mut self,
        out: &mut Vec<u8>,
        json: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let begun = out.len();
        match self.form {
            StreamForm::Array => out.push(if self.messages == 0 { b'[' } else { b',' }),
            StreamForm::Lines(_) => (),
            StreamForm::Events => {
                out.extend_from_slice(b"id: ");
                out.extend_from_slice(itoa::Buffer::new().format(self.messages + 1).as_bytes());
                out.extend_from_slice(b"\ndata: ");
            }
        }
        let from = out.len();
        if let Err(fault) = json(out) {
            out.truncate(begun);
            return Err(fault);
        }
        self.messages += 1;
        self.close_line(from, out);
        Ok(())
    }

    /// Appends the end of a stream that ended with OK.
    pub fn end(&self, out: &mut Vec<u8>) {
        match self.form {
            StreamForm::Array if self.messages == 0 => out.extend_from_slice(b"[]"),
            StreamForm::Array => out.push(b']'),
            StreamForm::Lines(_) => (),
            StreamForm::Events => out.extend_from_slice(b"event: end\ndata: {}\n\n"),
        }
    }

    /// Appends the end of a stream that failed after its head was sent. `status` is the JSON text of the
    /// `google.rpc.Status`. An array is left open, and the response must not end in order.
    pub fn error(&self, status: &[u8], out: &mut Vec<u8>) -> Closing {
        match self.form {
            StreamForm::Array => out.push(if self.messages == 0 { b'[' } else { b',' }),
            StreamForm::Lines(_) => (),
            StreamForm::Events => out.extend_from_slice(b"event: error\ndata: "),
        }
        let from = out.len();
        if self.form == StreamForm::Events {
            out.extend_from_slice(status);
        } else {
            out.extend_from_slice(b"{\"error\":");
            out.extend_from_slice(status);
            out.push(b'}');
        }
        self.close_line(from, out);
        if self.form == StreamForm::Array { Closing::Abort } else { Closing::Done }
    }

    /// Appends what keeps an idle stream open, where the form has such a thing. Between messages only.
    pub fn heartbeat(&self, out: &mut Vec<u8>) {
        if self.form == StreamForm::Events {
            out.extend_from_slice(b":\n\n");
        }
    }

    /// Ends the line of a JSON text that begins at `from`. Line breaks are never raw inside JSON strings: those
    /// between tokens turn into spaces, since they would end the line or the event.
    fn close_line(&self, from: usize, out: &mut Vec<u8>) {
        if self.form == StreamForm::Array {
            return;
        }
        let mut at = from;
        while let Some(found) = memchr::memchr2(b'\n', b'\r', &out[at..]) {
            at += found;
            out[at] = b' ';
        }
        let ending: &[u8] = if self.form == StreamForm::Events { b"\n\n" } else { b"\n" };
        out.extend_from_slice(ending);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::Closing;
    use super::StreamWriter;
    use crate::bridge::rest::negotiate::LinesName;
    use crate::bridge::rest::negotiate::StreamForm;

    const LINES: StreamForm = StreamForm::Lines(LinesName::Ndjson);

    fn put(writer: &mut StreamWriter, json: &str, out: &mut Vec<u8>) {
        let write = |out: &mut Vec<u8>| {
            out.extend_from_slice(json.as_bytes());
            Ok::<(), Infallible>(())
        };
        writer.message(out, write).unwrap();
    }

    fn written(form: StreamForm, messages: &[&str], error: Option<&str>) -> (String, Option<Closing>) {
        let (mut writer, mut out) = (StreamWriter::new(form), Vec::new());
        for message in messages {
            put(&mut writer, message, &mut out);
        }
        let closing = match error {
            None => {
                writer.end(&mut out);
                None
            }
            Some(status) => Some(writer.error(status.as_bytes(), &mut out)),
        };
        (String::from_utf8(out).unwrap(), closing)
    }

    #[test]
    fn the_table_of_forms() {
        let (array, events) = (StreamForm::Array, StreamForm::Events);
        let status = "{\"code\":13}";
        let two: &[&str] = &["{\"a\":1}", "2"];
        let table: [(StreamForm, &[&str], Option<&str>, &str); 12] = [
            (array, &[], None, "[]"),
            (array, &["1"], None, "[1]"),
            (array, two, None, "[{\"a\":1},2]"),
            (array, two, Some(status), "[{\"a\":1},2,{\"error\":{\"code\":13}}"),
            (array, &[], Some(status), "[{\"error\":{\"code\":13}}"),
            (LINES, &[], None, ""),
            (LINES, two, None, "{\"a\":1}\n2\n"),
            (LINES, two, Some(status), "{\"a\":1}\n2\n{\"error\":{\"code\":13}}\n"),
            (events, &[], None, "event: end\ndata: {}\n\n"),
            (events, two, None, "id: 1\ndata: {\"a\":1}\n\nid: 2\ndata: 2\n\nevent: end\ndata: {}\n\n"),
            (events, &["1"], Some(status), "id: 1\ndata: 1\n\nevent: error\ndata: {\"code\":13}\n\n"),
            (events, &[], Some(status), "event: error\ndata: {\"code\":13}\n\n"),
        ];
        for (form, messages, error, want) in table {
            let (text, closing) = written(form, messages, error);
            assert_eq!(text, want, "{form:?} {messages:?} {error:?}");
            let want = error.map(|_| if form == array { Closing::Abort } else { Closing::Done });
            assert_eq!(closing, want, "{form:?}");
        }
    }

    #[test]
    fn raw_line_breaks_never_break_a_frame() {
        let pretty = "{\r\n  \"a\": 1\n}";
        assert_eq!(written(LINES, &[pretty], None).0, "{    \"a\": 1 }\n");
        let events = written(StreamForm::Events, &[pretty], Some("{\n}")).0;
        assert_eq!(events, "id: 1\ndata: {    \"a\": 1 }\n\nevent: error\ndata: { }\n\n");
        assert_eq!(written(StreamForm::Array, &[pretty], None).0, format!("[{pretty}]"));
    }

    #[test]
    fn heartbeats_are_comments_and_only_for_events() {
        for form in StreamForm::ALL {
            let mut out = Vec::new();
            StreamWriter::new(form).heartbeat(&mut out);
            assert_eq!(out, if form == StreamForm::Events { &b":\n\n"[..] } else { b"" });
        }
    }

    #[test]
    fn a_message_that_fails_leaves_nothing() {
        for form in StreamForm::ALL {
            let (mut writer, mut out) = (StreamWriter::new(form), Vec::new());
            put(&mut writer, "1", &mut out);
            let before = out.clone();
            let failed = writer.message(&mut out, |out| {
                out.extend_from_slice(b"{\"half");
                Err("fault")
            });
            assert_eq!((failed, &out, writer.messages()), (Err("fault"), &before, 1));
        }
    }
}

//! Why a command doesn't end well: the sentence, and the exit code.

use std::process::ExitCode;
use std::time::Duration;

use prost::Message;
use tonic_types::pb;

use crate::admin::pb::Finding;
use crate::call::Code;
use crate::cli::output::clean;
use crate::cli::output::finding;
use crate::cli::output::let_through;

/// Why a command failed. What it holds is told to the user as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The gateway answered, and the answer is no.
    Refused(String),
    /// Nothing was asked, or nothing was answered.
    Unasked(String),
}

/// How a command ends: its exit code where it did what it was asked for.
pub(super) type Outcome = Result<ExitCode, Failure>;

impl Failure {
    /// A failure of this side.
    pub(super) fn unasked(why: impl std::fmt::Display) -> Self {
        Self::Unasked(why.to_string())
    }

    /// The same where 1 is an answer and not a failure.
    pub(super) fn apart(self) -> Self {
        match self {
            Self::Refused(why) | Self::Unasked(why) => Self::Unasked(why),
        }
    }
}

/// Tells why on standard error, and makes the exit code.
pub(super) fn exit(outcome: Outcome) -> ExitCode {
    use std::io::Write;

    let (why, code) = match outcome {
        Ok(code) => return code,
        Err(Failure::Refused(why)) => (why, 1),
        Err(Failure::Unasked(why)) => (why, 2),
    };
    // Nobody may be left to read it.
    let _ = writeln!(std::io::stderr().lock(), "{why}");
    ExitCode::from(code)
}

/// What a gateway answered instead of a reply: a sentence, and its details one a line.
pub(super) fn refusal(status: &tonic::Status) -> String {
    let code = Code::from_header(i32::from(status.code()).to_string().as_bytes()).name();
    let details = Details::read(status.details());
    let message = match status.message() {
        "" => status.code().description().to_lowercase(),
        message => clean(message),
    };
    let reason = details.reason.as_deref().map(|reason| format!(", {}", clean(reason))).unwrap_or_default();
    let mut text = format!("{message} ({code}{reason})");
    for line in details.lines {
        text.push_str("\n  ");
        text.push_str(&line);
    }
    if let Some((rule, element)) = details.breaking {
        text.push('\n');
        text.push_str(&let_through(&rule, &element));
    }
    text
}

/// The details of a status that have something to say.
#[derive(Default)]
struct Details {
    reason: Option<String>,
    lines: Vec<String>,
    /// The first breaking change, by its rule and its element.
    breaking: Option<(String, String)>,
    /// The first violated precondition, by its type and its subject. Where changes break somebody that is a rule and
    /// an element.
    violation: Option<(String, String)>,
}

impl Details {
    fn read(bytes: &[u8]) -> Self {
        let mut details = Self::default();
        // What can't be read is left out: the sentence is there all the same.
        let Ok(status) = pb::Status::decode(bytes) else { return details };
        for any in &status.details {
            let name = any.type_url.rsplit('/').next().unwrap_or_default();
            // An entry that can't be read is left out, too.
            let _ = details.one(name, &any.value);
        }
        if details.reason.as_deref().is_some_and(|reason| reason.contains("BREAKING")) {
            details.breaking = details.breaking.take().or_else(|| details.violation.take());
        }
        details
    }

    fn one(&mut self, name: &str, value: &[u8]) -> Result<(), prost::DecodeError> {
        match name {
            "google.rpc.ErrorInfo" => {
                let info = pb::ErrorInfo::decode(value)?;
                let mut metadata: Vec<_> = info.metadata.into_iter().collect();
                metadata.sort();
                self.lines
                    .extend(metadata.iter().map(|(key, value)| format!("{}: {}", clean(key), clean(value))));
                self.reason = Some(info.reason).filter(|reason| !reason.is_empty());
            }
            "google.rpc.BadRequest" => {
                let violations = pb::BadRequest::decode(value)?.field_violations;
                self.lines.extend(violations.iter().map(|violation| {
                    let (field, description) = (clean(&violation.field), clean(&violation.description));
                    if field.is_empty() { description } else { format!("{field}: {description}") }
                }));
            }
            "google.rpc.PreconditionFailure" => {
                for violation in pb::PreconditionFailure::decode(value)?.violations {
                    let [kind, subject, description] =
                        [&violation.r#type, &violation.subject, &violation.description]
                            .map(|text| clean(text));
                    let head: Vec<_> =
                        [&*kind, &*subject].into_iter().filter(|text| !text.is_empty()).collect();
                    self.lines.push(format!("{}: {description}", head.join(" ")));
                    if !kind.is_empty() && !subject.is_empty() {
                        // Before the element there is the place in the file, where there is one.
                        let element = subject.rsplit(' ').next().unwrap_or_default().to_owned();
                        self.violation.get_or_insert((kind, element));
                    }
                }
            }
            "google.rpc.ResourceInfo" => {
                let info = pb::ResourceInfo::decode(value)?;
                let (kind, name) = (clean(&info.resource_type), clean(&info.resource_name));
                self.lines.push(format!("{kind} {name}: {}", clean(&info.description)));
            }
            "google.rpc.RetryInfo" => {
                let delay = pb::RetryInfo::decode(value)?.retry_delay.unwrap_or_default();
                if let Ok(delay) = Duration::try_from(delay) {
                    self.lines.push(format!("try again in {delay:?}"));
                }
            }
            "transom.admin.v1.Finding" => {
                let found = Finding::decode(value)?;
                self.lines.push(finding(&found));
                self.breaking.get_or_insert_with(|| (clean(&found.rule), clean(&found.element)));
            }
            _ => (),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::Status;
    use tonic_types::ErrorDetails;
    use tonic_types::StatusExt;

    use super::*;

    #[test]
    fn a_refusal_is_a_sentence_with_its_details() {
        let mut details = ErrorDetails::new();
        details
            .add_bad_request_violation("spec.endpoints[0].address", "write HOST:PORT")
            .add_precondition_failure_violation("IN_USE", "apis/pets", "it names this upstream")
            .set_error_info("BAD_RESOURCE", "transom", HashMap::from([("limit".into(), "3".into())]))
            .set_retry_info(Some(Duration::from_secs(2)));
        let status =
            Status::with_error_details(tonic::Code::InvalidArgument, "the upstream has a fault", details);
        let text = refusal(&status);
        let (first, lines) = text.split_once('\n').unwrap();
        assert_eq!(first, "the upstream has a fault (INVALID_ARGUMENT, BAD_RESOURCE)");
        let mut lines: Vec<_> = lines.lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "  IN_USE apis/pets: it names this upstream",
                "  limit: 3",
                "  spec.endpoints[0].address: write HOST:PORT",
                "  try again in 2s"
            ]
        );
        assert_eq!(
            refusal(&Status::new(tonic::Code::Unavailable, "")).split(' ').next_back(),
            Some("(UNAVAILABLE)")
        );
    }

    #[test]
    fn what_a_server_says_can_not_write_on_the_terminal() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("a\x1b]0;x\x07", "b\r\nc");
        let text =
            refusal(&Status::with_error_details(tonic::Code::Internal, "\x1b[31mred\u{9b}2J", details));
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        for bytes in [&b"\xff\xff\xff\xff"[..], b"\x1a\xff\xff\xff\xff\x0f", b"\x08"] {
            let status =
                Status::with_details(tonic::Code::Internal, "no", bytes::Bytes::copy_from_slice(bytes));
            assert_eq!(refusal(&status), "no (INTERNAL)");
        }
    }

    #[test]
    fn one_is_an_answer_of_diff() {
        assert_eq!(Failure::Refused("x".into()).apart(), Failure::Unasked("x".into()));
    }
}

//! What the library says when it can't: statuses with the standard details of google.rpc.

use std::collections::HashMap;

use tonic::Code;
use tonic::Status;
use tonic_types::ErrorDetails;
use tonic_types::StatusExt;

const DOMAIN: &str = "library.transom.demo";

/// The two kinds of resources.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Shelf,
    Book,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Shelf => "shelf",
            Self::Book => "book",
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::Shelf => "transom.demo.v1.Shelf",
            Self::Book => "transom.demo.v1.Book",
        }
    }
}

/// NOT_FOUND, with ErrorInfo and ResourceInfo.
pub(crate) fn missing(kind: Kind, name: &str) -> Status {
    let mut details = info(&format!("{}_NOT_FOUND", kind.word().to_ascii_uppercase()), name);
    details.set_resource_info(
        kind.message(),
        name,
        "",
        format!("list what there is, and ask for one {}", kind.word()),
    );
    Status::with_error_details(Code::NotFound, format!("no {} {name}", kind.word()), details)
}

/// ALREADY_EXISTS, with ErrorInfo and ResourceInfo.
pub(crate) fn taken(kind: Kind, name: &str) -> Status {
    let mut details = info(&format!("{}_EXISTS", kind.word().to_ascii_uppercase()), name);
    details.set_resource_info(
        kind.message(),
        name,
        "",
        "choose another name, or change the one that is there",
    );
    Status::with_error_details(Code::AlreadyExists, format!("there is a {} {name}", kind.word()), details)
}

/// INVALID_ARGUMENT, with BadRequest.
pub(crate) fn bad(field: &str, why: &str) -> Status {
    let details = ErrorDetails::with_bad_request_violation(field, why);
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {why}"), details)
}

/// RESOURCE_EXHAUSTED, with QuotaFailure.
pub(crate) fn full(what: &str, max: usize) -> Status {
    let why = format!("at most {max} {what}: remove one, or try again later");
    let details = ErrorDetails::with_quota_failure_violation(what, &why);
    Status::with_error_details(Code::ResourceExhausted, why, details)
}

/// The code a caller asked to fail with, with ErrorInfo; none for 0.
pub(crate) fn wanted(field: &str, code: i32, text: &str) -> Option<Status> {
    match code {
        0 => None,
        1..=16 => {
            let message = if text.is_empty() { "failed as asked" } else { text };
            Some(Status::with_error_details(Code::from(code), message, info("AS_ASKED", text)))
        }
        _ => Some(bad(field, "write a gRPC code, 1 to 16, or 0 for none")),
    }
}

fn info(reason: &str, subject: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, HashMap::from([("subject".to_owned(), subject.to_owned())]))
}

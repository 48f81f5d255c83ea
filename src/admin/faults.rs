//! What the Admin API says when it can't do what it was asked for: a status with the details of each fault.

use prost::Message;
use prost_types::Any;
use tonic::Code;
use tonic::Status;
use tonic_types::ErrorDetails;
use tonic_types::StatusExt;
use tonic_types::pb::Status as RichStatus;

use crate::admin::checks;
use crate::admin::plane::Refused;
use crate::config::FaultKind;
use crate::config::Report;
use crate::registry::breaking::Finding;
use crate::registry::catalog::VersionError;
use crate::schema::Fault;
use crate::store::StoreError;

/// A status with a reason that programs can tell apart.
pub(super) fn status(code: Code, reason: Reason, told: impl Into<String>) -> Status {
    with(code, reason, told, |_| {})
}

/// Why something was refused (`ErrorInfo.reason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The request is at fault.
    RequestInvalid,
    /// There is nothing of that name.
    NotFound,
    /// The role, or its modules, don't allow it.
    AccessDenied,
    /// It is in the configuration file, which can't be changed here.
    InFile,
    /// There is no store.
    NoStore,
    /// Somebody else was faster.
    Conflict,
    /// Somebody else publishes it already.
    Collision,
    /// Clients would break.
    BreakingChange,
    /// Something uses it.
    InUse,
    /// The token isn't taken any more.
    CredentialInvalid,
    /// Too much is under way.
    Overloaded,
    /// A fault of ours, or of the disk.
    Internal,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::RequestInvalid => "REQUEST_INVALID",
            Self::NotFound => "NOT_FOUND",
            Self::AccessDenied => "ACCESS_DENIED",
            Self::InFile => "IN_FILE",
            Self::NoStore => "NO_STORE",
            Self::Conflict => "CONFLICT",
            Self::Collision => "COLLISION",
            Self::BreakingChange => "BREAKING_CHANGE",
            Self::InUse => "IN_USE",
            Self::CredentialInvalid => "CREDENTIAL_INVALID",
            Self::Overloaded => "OVERLOADED",
            Self::Internal => "INTERNAL",
        }
    }
}

fn with(code: Code, reason: Reason, told: impl Into<String>, add: impl FnOnce(&mut ErrorDetails)) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason.name(), DOMAIN, [] as [(String, String); 0]);
    add(&mut details);
    Status::with_error_details(code, told, details)
}

/// A request that is at fault, by the field that is.
pub(super) fn invalid(field: &str, told: impl Into<String>) -> Status {
    let told = told.into();
    with(Code::InvalidArgument, Reason::RequestInvalid, format!("{field}: {told}"), |details| {
        details.add_bad_request_violation(field, told);
    })
}

/// Descriptors that were refused: every fault by its file and line.
pub(super) fn of_faults(what: &str, faults: &[Fault]) -> Status {
    let first = faults.first().map_or_else(String::new, ToString::to_string);
    let told = format!("{what}: {first}{}", more(faults.len()));
    let mut room = Room::default();
    with(Code::InvalidArgument, Reason::RequestInvalid, message(&told), |details| {
        for fault in faults {
            let line = fault.line.map(|line| format!(":{line}")).unwrap_or_default();
            let field = clip(&format!("{}{line}", fault.file));
            let description = with_help(&fault.problem, &fault.help);
            if !room.takes(&[&field, &description]) {
                break;
            }
            details.add_bad_request_violation(field, description);
        }
    })
}

/// A configuration that was refused: every fault by the path of the value.
pub(super) fn of_report(report: &Report) -> Status {
    let faults = report.faults();
    let first = faults.first().map(|fault| format!("{}: {}", place(&fault.at), fault.problem));
    let told = format!("{}{}", first.unwrap_or_default(), more(faults.len()));
    let collides = faults.iter().any(|fault| fault.kind == FaultKind::Collision);
    let (code, reason) = match collides {
        true => (Code::AlreadyExists, Reason::Collision),
        false => (Code::InvalidArgument, Reason::RequestInvalid),
    };
    let mut room = Room::default();
    with(code, reason, message(&told), |details| {
        for fault in faults {
            let field = clip(&place(&fault.at));
            let description = with_help(&fault.problem, fault.help.as_deref().unwrap_or_default());
            if !room.takes(&[&field, &description]) {
                break;
            }
            details.add_bad_request_violation(field, description);
        }
    })
}

/// Breaking changes that nobody let through.
pub(super) fn of_breaking(module: &str, label: &str, findings: &[Finding]) -> Status {
    let first = findings.first();
    let shown = first.map(shown).unwrap_or_default();
    let allow = first.map(|first| format!("{}@{}", first.rule, first.element)).unwrap_or_default();
    let told = format!(
        "it would break clients of {module} ({label}): {shown}{}; make it compatible, or let it through with \
         allow_breaking={allow}",
        more(findings.len())
    );
    let status = with(Code::FailedPrecondition, Reason::BreakingChange, message(&told), |_| {});
    // `google.rpc` has no detail with a rule, a file and a line.
    let mut rich = RichStatus::decode(status.details()).unwrap_or_default();
    let mut room = Room::default();
    for finding in findings {
        let mut finding = checks::finding(finding);
        for text in [&mut finding.problem, &mut finding.breaks] {
            *text = clip(text);
        }
        if !room.takes(&[&finding.rule, &finding.file, &finding.element, &finding.problem, &finding.breaks]) {
            break;
        }
        let type_url = "type.googleapis.com/transom.admin.v1.Finding".into();
        rich.details.push(Any { type_url, value: finding.encode_to_vec() });
    }
    Status::with_details(status.code(), status.message(), rich.encode_to_vec().into())
}

fn shown(finding: &Finding) -> String {
    let line = finding.line.map(|line| format!(":{line}")).unwrap_or_default();
    format!("{}{line}: {} {}: {}", finding.file, finding.rule, finding.element, finding.problem)
}

/// Why a change wasn't made.
pub(super) fn of_refused(refused: Refused) -> Status {
    match refused {
        Refused::Status(status) => *status,
        Refused::Report(report) => of_report(&report),
        Refused::Store(error) => of_store(&error),
    }
}

/// What the store says.
pub(super) fn of_store(error: &StoreError) -> Status {
    match error {
        StoreError::Conflict { .. } => status(Code::Aborted, Reason::Conflict, error.to_string()),
        // Paths of the machine and words of the system are for the operator alone.
        error => {
            tracing::error!(%error, "the store can't do what the Admin API was asked for");
            status(Code::Unavailable, Reason::Internal, "the store can't be used: the gateway's log says why")
        }
    }
}

/// Why a version that was named can't be had.
pub(super) fn of_version(module: &str, asked: &str, error: VersionError) -> Status {
    match error {
        VersionError::Unknown => {
            let told = format!(
                "module \"{module}\" has no version {asked:?}: name one by its digest (8 digits or more) or by a \
                 label"
            );
            status(Code::NotFound, Reason::NotFound, clip(&told))
        }
        VersionError::Ambiguous => {
            let told = format!("several versions of \"{module}\" begin with {asked}: write more digits");
            status(Code::InvalidArgument, Reason::RequestInvalid, clip(&told))
        }
        VersionError::Store(error) => of_store(&error),
    }
}

/// Where a fault of a configuration is, in the words of whoever sent a resource.
fn place(at: &crate::config::At) -> String {
    match at.resource() {
        Some((kind, name)) if at.path.is_empty() => format!("{}/{name}", kind.list_name()),
        Some((kind, name)) => format!("{}/{name}: {}", kind.list_name(), at.path),
        None => at.to_string(),
    }
}

fn more(count: usize) -> String {
    match count.saturating_sub(1) {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    }
}

/// What details may still take: they travel in trailers, and clients of gRPC often take no more than 8 KiB of those.
struct Room {
    bytes_left: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { bytes_left: DETAILS_BYTES_MAX }
    }
}

impl Room {
    /// Whether one detail with these texts has room; the first one has.
    fn takes(&mut self, texts: &[&str]) -> bool {
        let bytes = texts.iter().map(|text| text.len() + FIELD_BYTES).sum();
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.unwrap_or_default();
        left.is_some()
    }
}

/// The way out is clipped apart, so that a problem with long names leaves room for it.
fn with_help(problem: &str, help: &str) -> String {
    match help {
        "" => clip(problem),
        help => format!("{}; {}", clip(problem), clip(help)),
    }
}

fn clip(text: &str) -> String {
    cut(text, TEXT_BYTES_MAX)
}

fn message(text: &str) -> String {
    cut(text, MESSAGE_BYTES_MAX)
}

fn cut(text: &str, bytes_max: usize) -> String {
    match text.len() <= bytes_max {
        true => text.to_owned(),
        false => format!("{}...", &text[..text.floor_char_boundary(bytes_max)]),
    }
}

/// `ErrorInfo.domain`.
const DOMAIN: &str = "transom";
/// In base64, with the message that is in them once more and again beside them, it stays below 8 KiB.
const DETAILS_BYTES_MAX: usize = 3 << 10;
/// What a field adds to its text, at most.
const FIELD_BYTES: usize = 8;
const MESSAGE_BYTES_MAX: usize = 800;
const TEXT_BYTES_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_many_faults_fits_into_trailers_of_8_kib() {
        // Quotes and letters beyond ASCII take three bytes each in `grpc-message`.
        for text in ["name.", "\"a\" ", "\u{e9}"] {
            let fault = Fault::new(text.repeat(500), text.repeat(500), "write it anew");
            let status = of_faults("module \"m\"", &vec![fault; 100]);
            let message =
                status.message().bytes().map(|byte| if byte.is_ascii_alphanumeric() { 1 } else { 3 });
            let bytes = message.sum::<usize>() + status.details().len().div_ceil(3) * 4;
            assert!(bytes < (8 << 10) - 200, "{text}: {bytes}");
            let details = status.get_error_details();
            let violations = &details.bad_request().unwrap().field_violations;
            assert!(2 <= violations.len(), "{text}: {}", violations.len());
            assert!(violations.iter().all(|fault| fault.description.ends_with("...; write it anew")));
        }
    }
}

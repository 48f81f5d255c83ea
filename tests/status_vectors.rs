//! Runs the status and deadline tables of `tests/vectors/status_mapping.json` (or of the folder that
//! `TRANSOM_VECTORS` names) against the pure functions that the dialects share.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::StatusCode;
use prost::Message;
use serde_json::Value;
use serde_json::json;
use tonic_types::pb;
use transom::bridge::rest::errors::ErrorForm;
use transom::bridge::rest::errors::Failure;
use transom::bridge::rest::errors::no_schema;
use transom::bridge::rest::errors::refuse;
use transom::bridge::rest::negotiate::LinesName;
use transom::bridge::rest::negotiate::StreamForm;
use transom::bridge::rest::negotiate::body_form;
use transom::bridge::rest::streams::Closing;
use transom::bridge::rest::streams::StreamWriter;
use transom::call::Code;
use transom::call::Reason;
use transom::call::Refusal;
use transom::call::connect;
use transom::call::deadline;

#[test]
fn every_case_holds() {
    let cases = cases();
    let (mut faults, mut run, mut left) = (Vec::new(), BTreeMap::<String, usize>::new(), Vec::new());
    for case in &cases {
        let id = text(case, "id");
        let table = text(case, "table");
        let got = match table {
            "grpc_to_http_rest" => grpc_to_http_rest(case),
            "grpc_to_connect" => grpc_to_connect(case),
            "http_to_grpc_no_grpc_status" => http_to_grpc(case),
            "http_to_connect_no_code" => http_to_connect(case),
            "grpc_timeout_parse" => grpc_timeout(case),
            "connect_timeout_ms_parse" => connect_timeout(case),
            "rules" => match rule(id, case) {
                Some(got) => got,
                None => {
                    left.push(id);
                    continue;
                }
            },
            other => Err(format!("no test knows the table {other}")),
        };
        *run.entry(table.into()).or_default() += 1;
        if let Err(fault) = got {
            faults.push(format!("{id} ({}): {fault}", text(case, "source")));
        }
    }
    assert!(faults.is_empty(), "{} of {} cases fail:\n{}", faults.len(), cases.len(), faults.join("\n"));
    // A table that lost its cases, or a rule that no arm knows any more, must not pass in silence.
    let least = [
        ("grpc_to_http_rest", 14),
        ("grpc_to_connect", 15),
        ("http_to_grpc_no_grpc_status", 19),
        ("http_to_connect_no_code", 11),
        ("grpc_timeout_parse", 11),
        ("connect_timeout_ms_parse", 6),
        ("rules", 12),
    ];
    for (table, count) in least {
        assert!(run.get(table).copied().unwrap_or_default() >= count, "{table}: {run:?}");
    }
    for id in left {
        assert!(NEED_A_GATEWAY.contains(&id), "the rule {id} is not run by any test");
    }
}

/// Rules about whole exchanges of dialects: their tests call a running gateway.
const NEED_A_GATEWAY: [&str; 3] = ["native-grpc-http-200", "connect-stream-200", "connect-unsupported-codec"];

fn grpc_to_http_rest(case: &Value) -> Result<(), String> {
    let want = number(case, "http");
    let mut trailers = HeaderMap::new();
    if let Some(code) = case["code"].as_i64() {
        trailers.insert("grpc-status", HeaderValue::from(code));
    }
    let failure = Failure::from_trailers(&trailers);
    let http = failure.as_ref().map_or(StatusCode::OK, |failure| failure.http);
    same("http", u64::from(http.as_u16()), want)?;
    if let (Some(failure), Some(code)) = (&failure, case["code"].as_i64()) {
        same("code in the body", body(failure)["code"].as_i64(), Some(code))?;
    }
    if let (Some(failure), Some(name)) = (&failure, case["grpc"].as_str()) {
        same("name", failure.code_name(), name)?;
    }
    same("a failure for anything but OK", failure.is_none(), case["code"] == 0)
}

fn grpc_to_connect(case: &Value) -> Result<(), String> {
    let code = Code::from_header(case["code"].to_string().as_bytes());
    same("grpc", code.name(), text(case, "grpc"))?;
    same("connect", connect::name(code), case["connect"].as_str())?;
    same("back", connect::from_name(text(case, "connect")), Some(code))?;
    same("http", u64::from(connect::http_status(code).as_u16()), number(case, "http"))
}

fn http_to_grpc(case: &Value) -> Result<(), String> {
    same("grpc", Code::from_http_status(status(case)).name(), text(case, "grpc"))
}

fn http_to_connect(case: &Value) -> Result<(), String> {
    same("connect", connect::name(connect::from_http_status(status(case))), case["connect"].as_str())
}

fn grpc_timeout(case: &Value) -> Result<(), String> {
    let want = wanted(case, "nanos").map(Duration::from_nanos);
    same("time", deadline::parse_timeout(text(case, "value").as_bytes()), want)
}

fn connect_timeout(case: &Value) -> Result<(), String> {
    let want = wanted(case, "millis").map(Duration::from_millis);
    same("time", connect::parse_timeout(text(case, "value").as_bytes()), want)
}

/// `None` for a rule that pure functions can't show.
fn rule(id: &str, case: &Value) -> Option<Result<(), String>> {
    Some(match id {
        "rest-status-body" | "details-bin-decoded" => upstream_error(case),
        "grpc-web-missing-trailer" => missing_status(),
        "transcode-error-body" => refused(case, Refusal::new(Reason::RequestInvalid, "x")),
        "route-404" => refused(case, Refusal::new(Reason::MethodUnknown, "x")),
        "route-405" => refused(case, Refusal::new(Reason::MethodNotAllowed, "x").offering("GET, POST")),
        "media-415" => media(case),
        "too-large-413" => refused(case, Refusal::new(Reason::MessageTooLarge, "x")),
        "mid-stream-error-visible" => mid_stream_error(),
        "unauthenticated-header" => unauthenticated(case),
        _ => return gateway_rule(id, case),
    })
}

/// The parts of rules about whole exchanges that pure functions decide.
fn gateway_rule(id: &str, case: &Value) -> Option<Result<(), String>> {
    match id {
        "connect-detail-shape" => Some(detail_bytes(case)),
        "connect-unsupported-compression" => Some(same(
            "connect",
            connect::name(Refusal::new(Reason::EncodingUnsupported, "x").code),
            case["expect"]["connect"].as_str(),
        )),
        _ => None,
    }
}

/// What an upstream says becomes the body of the `status` form.
fn upstream_error(case: &Value) -> Result<(), String> {
    let mut trailers = HeaderMap::new();
    for (name, value) in case["given"].as_object().into_iter().flatten() {
        let name: HeaderName = name.parse().expect("a header's name");
        trailers.insert(name, value.as_str().expect("text").parse().expect("a header's value"));
    }
    let failure = Failure::from_trailers(&trailers).ok_or("it is taken for OK")?;
    if let Some(http) = case["expect"]["http"].as_u64() {
        same("http", u64::from(failure.http.as_u16()), http)?;
    }
    let body = body(&failure);
    for (member, want) in case["expect"]["body"].as_object().into_iter().flatten() {
        same(member, &body[member], want)?;
    }
    Ok(())
}

fn missing_status() -> Result<(), String> {
    let failure = Failure::from_trailers(&HeaderMap::new()).ok_or("it is taken for OK")?;
    same("UNKNOWN or INTERNAL", [2, 13].contains(&failure.code), true)
}

/// A refusal of the gateway in every form of errors.
fn refused(case: &Value, refusal: Refusal) -> Result<(), String> {
    let expect = &case["expect"];
    for form in ErrorForm::ALL {
        let response = refuse(&refusal, form, &no_schema);
        same("http", u64::from(response.status().as_u16()), number(expect, "http"))?;
        if let Some(name) = expect["header"].as_str() {
            same(name, response.headers().contains_key(name), true)?;
        }
    }
    let response = refuse(&refusal, ErrorForm::Status, &no_schema);
    let body: Value = serde_json::from_slice(response.body()).map_err(|fault| fault.to_string())?;
    if let Some(code) = expect["code"].as_i64() {
        same("code", body["code"].as_i64(), Some(code))?;
    }
    if let Some(content_type) = expect["content-type"].as_str() {
        same("content-type", response.headers()["content-type"].to_str().ok(), Some(content_type))?;
    }
    Ok(())
}

fn media(case: &Value) -> Result<(), String> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json; charset=utf-16"));
    refused(case, body_form(&headers).err().ok_or("UTF-16 is taken")?)
}

fn mid_stream_error() -> Result<(), String> {
    let lines = StreamForm::Lines(LinesName::Ndjson);
    let table = [
        (StreamForm::Array, "[1,{\"error\":{\"code\":13}}", Closing::Abort),
        (lines, "1\n{\"error\":{\"code\":13}}\n", Closing::Done),
        (StreamForm::Events, "id: 1\ndata: 1\n\nevent: error\ndata: {\"code\":13}\n\n", Closing::Done),
    ];
    for (form, want, closing) in table {
        let (mut writer, mut out) = (StreamWriter::new(form), Vec::new());
        let one = |out: &mut Vec<u8>| {
            out.push(b'1');
            Ok::<(), String>(())
        };
        writer.message(&mut out, one)?;
        same("closing", writer.error(b"{\"code\":13}", &mut out), closing)?;
        same("body", String::from_utf8_lossy(&out).as_ref(), want)?;
    }
    Ok(())
}

/// The challenge itself comes from the policies; here it is only never the message.
fn unauthenticated(case: &Value) -> Result<(), String> {
    let refusal = Refusal::new(Reason::CredentialMissing, "the message");
    let response = refuse(&refusal, ErrorForm::Status, &no_schema);
    same("http", u64::from(response.status().as_u16()), number(&case["expect"], "http"))?;
    let challenge = response.headers().get("www-authenticate");
    same("no message in the challenge", challenge.is_none_or(|value| value != "the message"), true)
}

/// The bytes and the text of the case are one detail.
fn detail_bytes(case: &Value) -> Result<(), String> {
    let value = text(&case["expect"], "value");
    let bytes = base64::engine::general_purpose::STANDARD_NO_PAD.decode(value);
    let detail = prost_types::Any {
        type_url: format!("type.googleapis.com/{}", text(&case["expect"], "type")),
        value: bytes.map_err(|fault| fault.to_string())?,
    };
    let failure = Failure { http: StatusCode::OK, code: 14, message: String::new(), details: vec![detail] };
    let want = &case["expect"]["debug"]["retryDelay"];
    same("retryDelay", &body(&failure)["details"][0]["retryDelay"], want)
}

/// The body of the `status` form. Of upstream details only RequestInfo is resolved, as a schema would.
fn body(failure: &Failure) -> Value {
    let printer = |any: &[u8], out: &mut Vec<u8>| {
        let Ok(any) = prost_types::Any::decode(any) else { return false };
        if any.type_url != "type.googleapis.com/google.rpc.RequestInfo" {
            return false;
        }
        let Ok(info) = pb::RequestInfo::decode(&*any.value) else { return false };
        let printed = json!({ "@type": any.type_url, "requestId": info.request_id });
        out.extend_from_slice(printed.to_string().as_bytes());
        true
    };
    let mut out = Vec::new();
    failure.write(ErrorForm::Status, &printer, &mut out);
    serde_json::from_slice(&out).expect("an error body is JSON")
}

fn cases() -> Vec<Value> {
    let path = folder().join("status_mapping.json");
    let bytes = fs::read(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
    let mut file: Value = serde_json::from_slice(&bytes).expect("the vectors are JSON");
    match file["cases"].take() {
        Value::Array(cases) => cases,
        other => panic!("cases: {other}"),
    }
}

fn folder() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    env::var_os("TRANSOM_VECTORS").map_or_else(own, PathBuf::from)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("{what} is {got:?}, not {want:?}")) }
}

fn wanted(case: &Value, member: &str) -> Option<u64> {
    if case["error"] == true { None } else { Some(number(case, member)) }
}

fn status(case: &Value) -> StatusCode {
    let status = u16::try_from(number(case, "http")).expect("a status");
    StatusCode::from_u16(status).expect("a status")
}

fn number(case: &Value, member: &str) -> u64 {
    case[member].as_u64().unwrap_or_else(|| panic!("{member} of {case}"))
}

fn text<'a>(case: &'a Value, member: &str) -> &'a str {
    case[member].as_str().unwrap_or_else(|| panic!("{member} of {case}"))
}

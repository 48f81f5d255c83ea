//! Rules about methods: those that are gone, and those that are called in another way.

use prost_reflect::MethodDescriptor;
use prost_types::method_options::IdempotencyLevel;

use crate::registry::breaking::report::Check;
use crate::registry::breaking::rules;
use crate::registry::breaking::rules::Rule;

pub(super) fn compare(check: &mut Check<'_>) {
    let (old, new) = (check.old, check.new);
    for before in old.services() {
        let Some(after) = new.service(&before.name) else { continue };
        for rpc in &before.methods {
            match new.method(&rpc.method.path) {
                Some(same) => compare_pair(check, &rpc.descriptor, &same.descriptor),
                None => {
                    for rule in [&rules::RPC_NO_DELETE, &rules::TRANSOM_RPC_NO_DELETE] {
                        let place = check.at(&after.descriptor.parent_file(), after.descriptor.path());
                        check.report(rule, place, rpc.descriptor.full_name(), "the method was deleted");
                    }
                }
            }
        }
    }
}

fn compare_pair(check: &mut Check<'_>, before: &MethodDescriptor, after: &MethodDescriptor) {
    let mut report = |rule: &Rule, part: &[i32], problem: String| {
        let place = check.at_part(&after.parent_file(), after.path(), part);
        check.report(rule, place, before.full_name(), problem);
    };
    let (was, is) = (before.input(), after.input());
    if was.full_name() != is.full_name() {
        let problem = format!("it took {}, and takes {} now", was.full_name(), is.full_name());
        report(&rules::RPC_SAME_REQUEST_TYPE, &[INPUT], problem);
    }
    let (was, is) = (before.output(), after.output());
    if was.full_name() != is.full_name() {
        let problem = format!("it returned {}, and returns {} now", was.full_name(), is.full_name());
        report(&rules::RPC_SAME_RESPONSE_TYPE, &[OUTPUT], problem);
    }
    let kind = |streams| if streams { "a stream" } else { "one message" };
    let (was, is) = (before.is_client_streaming(), after.is_client_streaming());
    if was != is {
        let problem = format!("clients sent {}, and shall send {} now", kind(was), kind(is));
        report(&rules::RPC_SAME_CLIENT_STREAMING, &[], problem);
    }
    let (was, is) = (before.is_server_streaming(), after.is_server_streaming());
    if was != is {
        let problem = format!("it answered with {}, and answers with {} now", kind(was), kind(is));
        report(&rules::RPC_SAME_SERVER_STREAMING, &[], problem);
    }
    let ((was, _), (is, is_set)) = (idempotency(before), idempotency(after));
    if was != is {
        let problem = format!("idempotency_level changed from {} to {}", was.as_str_name(), is.as_str_name());
        let part: &[i32] = if is_set { &[OPTIONS, IDEMPOTENCY_LEVEL] } else { &[] };
        report(&rules::RPC_SAME_IDEMPOTENCY_LEVEL, part, problem);
    }
}

/// The level, and whether it is written down.
fn idempotency(method: &MethodDescriptor) -> (IdempotencyLevel, bool) {
    let options = method.method_descriptor_proto().options.as_ref();
    options.map_or((IdempotencyLevel::IdempotencyUnknown, false), |options| {
        (options.idempotency_level(), options.idempotency_level.is_some())
    })
}

/// Fields of `google.protobuf.MethodDescriptorProto`, and of its options.
const INPUT: i32 = 2;
const OUTPUT: i32 = 3;
const OPTIONS: i32 = 4;
const IDEMPOTENCY_LEVEL: i32 = 34;

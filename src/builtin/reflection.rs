//! Server reflection, v1 and v1alpha: shows each host the descriptors of what is published on it.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::StreamExt as _;
use tonic::Code;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;
use tonic_reflection::pb::v1;
use tonic_reflection::pb::v1::ErrorResponse;
use tonic_reflection::pb::v1::ExtensionNumberResponse;
use tonic_reflection::pb::v1::FileDescriptorResponse;
use tonic_reflection::pb::v1::ListServiceResponse;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::ServerReflectionResponse;
use tonic_reflection::pb::v1::ServiceResponse;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::server_reflection_server;
use tonic_reflection::pb::v1::server_reflection_server::ServerReflection;
use tonic_reflection::pb::v1::server_reflection_server::ServerReflectionServer;
use tonic_reflection::pb::v1alpha;

use crate::builtin::Alias;
use crate::builtin::Host;
use crate::builtin::Hosted;
use crate::builtin::Own;
use crate::builtin::View;
use crate::builtin::shown;
use crate::builtin::visible::Found;
use crate::builtin::visible::Visible;
use crate::schema::Digest;
use crate::schema::File;

/// `grpc.reflection.v1.ServerReflection` and its elder, `v1alpha`.
///
/// # Panics
/// If the system starts no thread; so call it at the start, and once.
pub fn reflection(view: Arc<dyn View>) -> Vec<Own> {
    let inner = ServerReflectionServer::new(Reflection { view }).max_decoding_message_size(REQUEST_BYTES_MAX);
    let newer = Hosted { inner: inner.clone(), alias: None };
    let elder = Hosted { inner, alias: Some(ELDER) };
    let elder_name = v1alpha::server_reflection_server::SERVICE_NAME;
    vec![
        Own::new(server_reflection_server::SERVICE_NAME, v1::FILE_DESCRIPTOR_SET, newer),
        Own::new(elder_name, v1alpha::FILE_DESCRIPTOR_SET, elder),
    ]
}

struct Reflection {
    view: Arc<dyn View>,
}

#[tonic::async_trait]
impl ServerReflection for Reflection {
    type ServerReflectionInfoStream =
        Pin<Box<dyn Stream<Item = Result<ServerReflectionResponse, Status>> + Send>>;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
        let host = Host::among(request.extensions());
        let mut session = Session { view: self.view.clone(), host, last: None, sent: Sent::default() };
        // One reply for each request, made when it is asked for: a client that doesn't read isn't read.
        let replies = request.into_inner().map(move |request| Ok(session.reply(request?)));
        Ok(Response::new(Box::pin(replies)))
    }
}

/// One stream.
struct Session {
    view: Arc<dyn View>,
    host: Arc<str>,
    last: Option<Digest>,
    sent: Sent,
}

impl Session {
    fn reply(&mut self, request: ServerReflectionRequest) -> ServerReflectionResponse {
        let answer = request.message_request.as_ref().map_or_else(
            || {
                Err(error(
                    Code::Unimplemented,
                    "ask for a file, a symbol, an extension or the list of services",
                ))
            },
            |asked| self.answer(asked),
        );
        ServerReflectionResponse {
            valid_host: request.host.clone(),
            original_request: Some(request),
            message_response: Some(answer.unwrap_or_else(MessageResponse::ErrorResponse)),
        }
    }

    fn answer(&mut self, asked: &MessageRequest) -> Result<MessageResponse, ErrorResponse> {
        let visible = Visible::new(self.view.published(&self.host), self.last);
        match asked {
            MessageRequest::ListServices(_) => {
                let service =
                    visible.services().map(|name| ServiceResponse { name: name.to_string() }).collect();
                Ok(MessageResponse::ListServicesResponse(ListServiceResponse { service }))
            }
            MessageRequest::FileByFilename(name) => {
                check(name)?;
                let found = visible.file(name);
                Ok(self.files(found.ok_or_else(|| missing(format!("file \"{}\"", shown(name))))?))
            }
            MessageRequest::FileContainingSymbol(name) => {
                check(name)?;
                let found = visible.symbol(name);
                Ok(self.files(found.ok_or_else(|| missing(format!("symbol \"{}\"", shown(name))))?))
            }
            MessageRequest::FileContainingExtension(asked) => {
                let (extendee, number) = (&asked.containing_type, asked.extension_number);
                check(extendee)?;
                let found = u32::try_from(number).ok().and_then(|number| visible.extension(extendee, number));
                let what = || format!("extension {number} of \"{}\"", shown(extendee));
                Ok(self.files(found.ok_or_else(|| missing(what()))?))
            }
            MessageRequest::AllExtensionNumbersOfType(name) => {
                check(name)?;
                let numbers = visible.extension_numbers(name);
                let numbers = numbers.ok_or_else(|| missing(format!("message \"{}\"", shown(name))))?;
                // Field numbers are below 2^29.
                let extension_number =
                    numbers.into_iter().filter_map(|number| number.try_into().ok()).collect();
                let numbers = ExtensionNumberResponse { base_type_name: name.clone(), extension_number };
                Ok(MessageResponse::AllExtensionNumbersResponse(numbers))
            }
        }
    }

    /// The file that was asked for comes first, where clients seek it, and even if they had it before; then
    /// all that it imports and the client hasn't got yet.
    fn files(&mut self, found: Found<'_>) -> MessageResponse {
        self.last = Some(found.schema.digest());
        let files = found.schema.closure(&found.file.name);
        let mut file_descriptor_proto = Vec::new();
        for file in files.into_iter().rev() {
            if self.sent.note(file) || file.name == found.file.name {
                file_descriptor_proto.push(file.bytes.to_vec());
            }
        }
        MessageResponse::FileDescriptorResponse(FileDescriptorResponse { file_descriptor_proto })
    }
}

/// What a stream has sent: a hash of the last content by name, so that nothing outdated is kept alive.
#[derive(Default)]
struct Sent {
    hashes: HashMap<Arc<str>, u64>,
    hasher: RandomState,
}

impl Sent {
    /// Whether the client hasn't got this file, or has another of its name.
    fn note(&mut self, file: &File) -> bool {
        let hash = self.hasher.hash_one(&file.bytes);
        self.hashes.insert(file.name.clone(), hash) != Some(hash)
    }
}

fn check(name: &str) -> Result<(), ErrorResponse> {
    if NAME_BYTES_MAX < name.len() {
        let told = format!("the name has {} bytes; ask for one of at most {NAME_BYTES_MAX}", name.len());
        return Err(error(Code::InvalidArgument, told));
    }
    Ok(())
}

fn missing(what: String) -> ErrorResponse {
    error(Code::NotFound, format!("{what} is not published on this host; list_services says what is"))
}

fn error(code: Code, told: impl Into<String>) -> ErrorResponse {
    ErrorResponse { error_code: code.into(), error_message: told.into() }
}

/// The versions differ in the name of their package and in nothing else, so one server reads both.
const ELDER: Alias = Alias {
    path: "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    served_as: "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
};

/// A request is repeated in its reply.
const REQUEST_BYTES_MAX: usize = 16 << 10;

const NAME_BYTES_MAX: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    use prost::Message as _;
    use prost_types::FileDescriptorProto;
    use tonic_reflection::pb::v1::ExtensionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient as ElderClient;

    use super::*;
    use crate::builtin::fake;
    use crate::builtin::fake::Fake;

    const NAME: &str = server_reflection_server::SERVICE_NAME;
    const BASE: &str = r#"
        syntax = "proto2";
        package common;
        message Base {
          optional string id = 1;
          extensions 100 to 199;
          message Inner { enum Kind { KIND_ANY = 0; } }
        }
    "#;
    const PETS: &str = r#"
        syntax = "proto2";
        package pets.v1;
        import "common/base.proto";
        import "google/protobuf/timestamp.proto";
        extend common.Base { optional string nick = 120; optional int32 age = 100; }
        message Pet {
          message Tag { optional common.Base base = 1; }
          optional google.protobuf.Timestamp born = 1;
        }
        service PetStore { rpc GetPet(Pet) returns (Pet); }
    "#;
    const TOYS: &str = r#"
        syntax = "proto2";
        package toys.v1;
        import "common/base.proto";
        import "google/protobuf/timestamp.proto";
        extend common.Base { optional string toy = 130; }
        message Toy { optional google.protobuf.Timestamp made = 1; optional common.Old old = 2; }
        service Shop { rpc GetToy(Toy) returns (Toy); }
    "#;

    /// `pets.example` has one module, `toys.example` another, `both.example` both; their `common/base.proto`
    /// differ.
    fn view() -> Arc<Fake> {
        let old = BASE.to_owned() + "message Old {}";
        let pets = fake::schema(&[("common/base.proto", BASE), ("pets/v1/pets.proto", PETS)]);
        let toys = fake::schema(&[("common/base.proto", &old), ("toys/v1/toys.proto", TOYS)]);
        let view = Arc::new(Fake::default());
        for host in ["pets.example", "both.example"] {
            view.publish(host, &pets, "pets.v1.PetStore", true);
        }
        for host in ["toys.example", "both.example"] {
            view.publish(host, &toys, "toys.v1.Shop", true);
        }
        let own = reflection(view.clone());
        view.publish("pets.example", &own[0].schema, NAME, true);
        view
    }

    fn client(view: &Arc<Fake>, host: &str) -> ServerReflectionClient<fake::Channel> {
        let own = reflection(view.clone());
        ServerReflectionClient::with_origin(fake::channel(&own, NAME), fake::origin(host))
    }

    /// The answers to what is asked on one stream.
    async fn ask(view: &Arc<Fake>, host: &str, asked: Vec<MessageRequest>) -> Vec<MessageResponse> {
        let asked: Vec<_> = asked
            .into_iter()
            .map(|asked| ServerReflectionRequest { host: "h".into(), message_request: Some(asked) })
            .collect();
        let count = asked.len();
        let replies =
            client(view, host).server_reflection_info(stream(asked.clone())).await.unwrap().into_inner();
        let replies: Vec<ServerReflectionResponse> = replies.map(Result::unwrap).collect().await;
        assert_eq!(replies.len(), count);
        let answers = replies.into_iter().zip(asked).map(|(reply, asked)| {
            assert_eq!(reply.valid_host, "h");
            assert_eq!(reply.original_request, Some(asked));
            reply.message_response.unwrap()
        });
        answers.collect()
    }

    fn stream<T: Send + 'static>(items: Vec<T>) -> impl Stream<Item = T> + Send + 'static {
        futures_util::stream::iter(items)
    }

    fn files(answer: &MessageResponse) -> Vec<FileDescriptorProto> {
        let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("no files: {answer:?}") };
        files
            .file_descriptor_proto
            .iter()
            .map(|file| FileDescriptorProto::decode(file.as_slice()).unwrap())
            .collect()
    }

    fn names(answer: &MessageResponse) -> Vec<String> {
        files(answer).iter().map(|file| file.name().to_owned()).collect()
    }

    fn code(answer: &MessageResponse) -> Code {
        let MessageResponse::ErrorResponse(error) = answer else { panic!("no error: {answer:?}") };
        error.error_code.into()
    }

    fn services(answer: &MessageResponse) -> Vec<&str> {
        let MessageResponse::ListServicesResponse(list) = answer else { panic!("no list: {answer:?}") };
        list.service.iter().map(|service| &*service.name).collect()
    }

    fn symbol(name: &str) -> MessageRequest {
        MessageRequest::FileContainingSymbol(name.into())
    }

    fn file(name: &str) -> MessageRequest {
        MessageRequest::FileByFilename(name.into())
    }

    fn extension(extendee: &str, extension_number: i32) -> MessageRequest {
        let containing_type = extendee.into();
        MessageRequest::FileContainingExtension(ExtensionRequest { containing_type, extension_number })
    }

    fn list() -> MessageRequest {
        MessageRequest::ListServices(String::new())
    }

    #[tokio::test]
    async fn each_host_sees_what_is_published_on_it() {
        let view = view();
        for (host, want, other) in [
            ("pets.example", vec![NAME, "pets.v1.PetStore"], "toys.v1.Toy"),
            ("toys.example", vec!["toys.v1.Shop"], "pets.v1.Pet"),
            ("both.example", vec!["pets.v1.PetStore", "toys.v1.Shop"], NAME),
            ("none.example", vec![], "pets.v1.Pet"),
        ] {
            let answers = ask(&view, host, vec![list(), symbol(other)]).await;
            assert_eq!(services(&answers[0]), want, "{host}");
            assert_eq!(code(&answers[1]), Code::NotFound, "{host}");
        }
    }

    #[tokio::test]
    async fn a_symbol_brings_its_file_first_and_then_what_it_imports() {
        let view = view();
        for name in [
            "pets.v1.PetStore",
            "pets.v1.PetStore.GetPet",
            "pets.v1.Pet",
            "pets.v1.Pet.Tag",
            "pets.v1.Pet.Tag.base",
            "pets.v1.nick",
        ] {
            let answers = ask(&view, "pets.example", vec![symbol(name)]).await;
            let mut names = names(&answers[0]);
            assert_eq!(names.remove(0), "pets/v1/pets.proto", "{name}");
            names.sort();
            assert_eq!(names, ["common/base.proto", "google/protobuf/timestamp.proto"], "{name}");
        }
        for name in ["common.Base.Inner", "common.Base.Inner.Kind", "common.Base.Inner.KIND_ANY"] {
            let answers = ask(&view, "pets.example", vec![symbol(name)]).await;
            assert_eq!(names(&answers[0]), ["common/base.proto"], "{name}");
        }
    }

    #[tokio::test]
    async fn a_stream_gets_what_it_asks_for_again_but_imports_once() {
        let asked = vec![file("common/base.proto"), file("pets/v1/pets.proto"), file("pets/v1/pets.proto")];
        let answers = ask(&view(), "pets.example", asked).await;
        assert_eq!(names(&answers[0]), ["common/base.proto"]);
        assert_eq!(names(&answers[1]), ["pets/v1/pets.proto", "google/protobuf/timestamp.proto"]);
        assert_eq!(names(&answers[2]), ["pets/v1/pets.proto"]);
    }

    #[tokio::test]
    async fn extensions_are_found_by_number() {
        let view = view();
        let numbers = |name: &str| MessageRequest::AllExtensionNumbersOfType(name.into());
        let asked = vec![
            extension("common.Base", 120),
            extension("common.Base", 130),
            extension("common.Base", -1),
            extension("common.Missing", 120),
            numbers("common.Base"),
            numbers("pets.v1.Pet"),
            numbers("common.Missing"),
        ];
        let answers = ask(&view, "pets.example", asked).await;
        assert_eq!(names(&answers[0])[0], "pets/v1/pets.proto");
        assert!(answers[1..4].iter().all(|answer| code(answer) == Code::NotFound));
        let answer = |numbers: &[i32], name: &str| {
            MessageResponse::AllExtensionNumbersResponse(ExtensionNumberResponse {
                base_type_name: name.into(),
                extension_number: numbers.to_vec(),
            })
        };
        assert_eq!(answers[4], answer(&[100, 120], "common.Base"));
        assert_eq!(answers[5], answer(&[], "pets.v1.Pet"));
        assert_eq!(code(&answers[6]), Code::NotFound);
        let answers =
            ask(&view, "both.example", vec![numbers("common.Base"), extension("common.Base", 130)]).await;
        assert_eq!(answers[0], answer(&[100, 120, 130], "common.Base"));
        assert_eq!(names(&answers[1])[0], "toys/v1/toys.proto");
    }

    #[tokio::test]
    async fn of_files_with_one_name_the_one_that_fits_the_symbol_is_sent() {
        let base = |answer: &MessageResponse| {
            let base = files(answer).into_iter().find(|file| file.name() == "common/base.proto");
            base.map(|file| file.message_type.len())
        };
        let asked = vec![
            symbol("common.Old"),
            file("common/base.proto"),
            symbol("pets.v1.PetStore"),
            file("common/base.proto"),
            symbol("toys.v1.Shop.GetToy"),
        ];
        let answers = ask(&view(), "both.example", asked).await;
        // The base of toys has two messages, that of pets one.
        assert_eq!(
            answers.iter().map(base).collect::<Vec<_>>(),
            [Some(2), Some(2), Some(1), Some(1), Some(2)]
        );
    }

    #[tokio::test]
    async fn what_is_missing_or_not_a_question_is_an_error_and_the_stream_goes_on() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        let asked = vec![file("missing.proto"), symbol("pets.v1"), symbol(""), symbol(&long), list()];
        let answers = ask(&view(), "pets.example", asked).await;
        assert!(answers[..3].iter().all(|answer| code(answer) == Code::NotFound));
        assert_eq!(code(&answers[3]), Code::InvalidArgument);
        assert_eq!(services(&answers[4]).len(), 2);

        let empty = stream(vec![ServerReflectionRequest::default()]);
        let replies = client(&view(), "pets.example").server_reflection_info(empty).await.unwrap();
        let reply = replies.into_inner().next().await.unwrap().unwrap();
        assert_eq!(code(&reply.message_response.unwrap()), Code::Unimplemented);
    }

    #[tokio::test]
    async fn a_request_that_is_too_large_ends_the_stream() {
        let large =
            ServerReflectionRequest { host: "x".repeat(REQUEST_BYTES_MAX), message_request: Some(list()) };
        let replies =
            client(&view(), "pets.example").server_reflection_info(stream(vec![large])).await.unwrap();
        let replies: Vec<_> = replies.into_inner().collect().await;
        assert_eq!(replies.len(), 1);
        assert_eq!(replies[0].as_ref().unwrap_err().code(), Code::OutOfRange);
    }

    #[tokio::test]
    async fn a_running_stream_sees_what_is_published_later() {
        let view = view();
        let (asking, asked) = tokio::sync::mpsc::channel(1);
        let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
        let replies = client(&view, "new.example").server_reflection_info(asked).await.unwrap();
        let mut replies = replies.into_inner();
        for want in [vec![], vec!["pets.v1.PetStore"]] {
            if !want.is_empty() {
                let schema = view.hosts.borrow()["both.example"][0].0.clone();
                view.publish("new.example", &schema, "pets.v1.PetStore", true);
            }
            let request = ServerReflectionRequest { message_request: Some(list()), ..Default::default() };
            asking.send(request).await.unwrap();
            let reply = replies.next().await.unwrap().unwrap();
            assert_eq!(services(&reply.message_response.unwrap()), want);
        }
    }

    #[tokio::test]
    async fn an_endless_client_that_reads_little_is_read_little() {
        let taken = Arc::new(AtomicUsize::new(0));
        let count = taken.clone();
        let endless = futures_util::stream::repeat_with(move || {
            count.fetch_add(1, Ordering::Relaxed);
            ServerReflectionRequest { host: "x".repeat(1000), message_request: Some(symbol("pets.v1.Pet")) }
        });
        let replies = client(&view(), "pets.example").server_reflection_info(endless).await.unwrap();
        let mut replies = replies.into_inner();
        replies.next().await.unwrap().unwrap();
        // tonic fills a buffer of 32 KiB each way, and here a request has 1000 bytes.
        let first = taken.load(Ordering::Relaxed);
        assert!((1..100).contains(&first), "{first}");
        for _ in 0..300 {
            replies.next().await.unwrap().unwrap();
        }
        assert!((301..400).contains(&taken.load(Ordering::Relaxed)), "{taken:?}");
    }

    #[tokio::test]
    async fn the_elder_version_answers_alike() {
        let view = view();
        let own = reflection(view.clone());
        let channel = fake::channel(&own, v1alpha::server_reflection_server::SERVICE_NAME);
        let mut client = ElderClient::with_origin(channel, fake::origin("pets.example"));
        let elder = |asked: MessageRequest| {
            let request = ServerReflectionRequest { host: "h".into(), message_request: Some(asked) };
            v1alpha::ServerReflectionRequest::decode(request.encode_to_vec().as_slice()).unwrap()
        };
        let asked =
            || vec![list(), symbol("pets.v1.Pet.Tag"), extension("common.Base", 100), file("missing")];
        let replies = client.server_reflection_info(stream(asked().into_iter().map(elder).collect())).await;
        let replies: Vec<_> = replies.unwrap().into_inner().map(Result::unwrap).collect().await;
        let answers = ask(&view, "pets.example", asked()).await;
        assert_eq!(replies.len(), answers.len());
        for (reply, answer) in replies.into_iter().zip(answers) {
            let newer = ServerReflectionResponse::decode(reply.encode_to_vec().as_slice()).unwrap();
            assert_eq!(newer.message_response.unwrap(), answer);
        }
    }

    #[test]
    fn the_versions_differ_in_the_name_of_the_package_alone() {
        let own = reflection(Arc::new(Fake::default()));
        let messages = |own: &Own| {
            let file = own.schema.file(own.schema.service(&own.service).unwrap().file.as_ref()).unwrap();
            let mut file = FileDescriptorProto::decode(&*file.bytes).unwrap();
            file.source_code_info = None;
            let text = format!("{:?}", file.message_type);
            text.replace("v1alpha", "v1")
        };
        assert_eq!(messages(&own[0]), messages(&own[1]));
        assert!(messages(&own[0]).contains("ServerReflectionRequest"));
    }
}

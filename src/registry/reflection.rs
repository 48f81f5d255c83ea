//! Asks a server for its descriptors by gRPC server reflection, v1 or else v1alpha.
//!
//! The server is not trusted: files, bytes, questions and time are bounded, and what it sends is compiled
//! like any upload.

use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::Request;
use tonic::Status;
use tonic::Streaming;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::client::GrpcService;
use tonic::codegen::StdError;
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::ServerReflectionResponse;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::schema;
use crate::schema::Fault;
use crate::schema::Schema;
use crate::schema::compile;

/// What one conversation may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the first question to the last answer, connecting included.
    pub timeout: Duration,
    /// Questions asked.
    pub questions_max: usize,
    /// Services that a server may list.
    pub services_max: usize,
    /// Files and bytes, and what compiling them may cost.
    pub schema: schema::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            questions_max: 20_000,
            services_max: 5_000,
            schema: schema::Limits::default(),
        }
    }
}

/// What a server told of itself.
#[derive(Debug, Clone)]
pub struct Reflected {
    /// All files that it sent.
    pub schema: Schema,
    /// Services that it lists and describes, sorted; files may declare others that it does not serve.
    pub services: Vec<String>,
    /// Services that it lists and can't describe, sorted.
    pub missing: Vec<String>,
}

/// Asks for all services but reflection itself, and for what their files import. Imports that the server
/// lacks are sought in `deps`.
///
/// # Errors
///
/// One sentence if the server can't be asked or tells too much, or the faults of what it sent.
pub async fn fetch<T>(server: T, deps: &[Schema], limits: &Limits) -> Result<Reflected, Vec<Fault>>
where
    T: GrpcService<Body> + Clone,
    T::Error: Into<StdError>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<StdError> + Send,
{
    let told = tokio::time::timeout(limits.timeout, listen(server, deps, limits)).await;
    let late = |_| {
        let problem = format!("it did not tell all within {:?}", limits.timeout);
        fault(problem, "check that it is up, or allow more time")
    };
    let told = told.map_err(late).flatten().map_err(|fault| vec![fault])?;
    let Told { files, services, missing } = told;
    let (deps, limits) = (deps.to_vec(), limits.schema);
    let files: Vec<Bytes> = files.into_values().collect();
    let compiled = tokio::task::spawn_blocking(move || compile::descriptors(files, &deps, &limits)).await;
    let cut_short = |_| Err(vec![fault("compiling what it sent was cut short", "try again")]);
    let schema = compiled.unwrap_or_else(cut_short)?;
    Ok(Reflected { schema, services, missing })
}

struct Told {
    files: HashMap<String, Bytes>,
    services: Vec<String>,
    missing: Vec<String>,
}

async fn listen<T>(server: T, deps: &[Schema], limits: &Limits) -> Result<Told, Fault>
where
    T: GrpcService<Body> + Clone,
    T::Error: Into<StdError>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<StdError> + Send,
{
    let first = Conversation::open(server.clone(), V1, limits).await;
    let (mut conversation, services) = match first {
        Err(status) if status.code() == Code::Unimplemented => {
            Conversation::open(server, V1ALPHA, limits).await.map_err(|status| unanswered(&status))?
        }
        other => other.map_err(|status| unanswered(&status))?,
    };
    let mut services: Vec<String> = services.into_iter().filter(|name| !is_reflection(name)).collect();
    services.sort_unstable();
    services.dedup();
    if services.is_empty() {
        return Err(fault("it lists no service", "register the services with its reflection"));
    }
    if limits.services_max < services.len() {
        let problem =
            format!("it lists {} services, and {} are allowed", services.len(), limits.services_max);
        return Err(fault(problem, "upload its .proto files instead"));
    }
    let mut heap =
        Heap { limits, files: HashMap::new(), bytes: 0, wanted: VecDeque::new(), asked: HashSet::new() };
    let mut missing = Vec::new();
    for name in &services {
        match conversation.files(MessageRequest::FileContainingSymbol(name.clone())).await? {
            Some(files) => heap.add(files, deps)?,
            None => missing.push(name.clone()),
        }
    }
    while let Some(name) = heap.wanted.pop_front() {
        // A file that it can't give is reported by the compiler, with the file that imports it.
        if let Some(files) = conversation.files(MessageRequest::FileByFilename(name)).await? {
            heap.add(files, deps)?;
        }
    }
    if heap.files.is_empty() {
        return Err(fault("it lists services and describes none", "upload its .proto files instead"));
    }
    services.retain(|name| !missing.contains(name));
    Ok(Told { files: heap.files, services, missing })
}

/// The files told so far.
struct Heap<'a> {
    limits: &'a Limits,
    /// By import name.
    files: HashMap<String, Bytes>,
    bytes: usize,
    /// Imports to ask for.
    wanted: VecDeque<String>,
    asked: HashSet<String>,
}

impl Heap<'_> {
    fn add(&mut self, files: Vec<Vec<u8>>, deps: &[Schema]) -> Result<(), Fault> {
        for file in files {
            let (name, imports) = schema::name_and_imports(&file)?;
            if self.files.contains_key(&name) {
                continue;
            }
            self.bytes += file.len();
            self.files.insert(name, file.into());
            let limits = &self.limits.schema;
            if limits.files_max < self.files.len() || limits.bytes_max < self.bytes {
                let problem =
                    format!("it sends more than {} files or {} bytes", limits.files_max, limits.bytes_max);
                return Err(fault(problem, "upload its .proto files instead"));
            }
            for import in imports {
                let known = schema::is_bundled(&import) || deps.iter().any(|dep| dep.file(&import).is_some());
                if !known && !self.files.contains_key(&import) && self.asked.insert(import.clone()) {
                    self.wanted.push_back(import);
                }
            }
        }
        Ok(())
    }
}

/// One stream of questions, each asked when the one before is answered.
struct Conversation {
    questions: mpsc::Sender<ServerReflectionRequest>,
    answers: Streaming<ServerReflectionResponse>,
    questions_left: usize,
}

impl Conversation {
    /// Opens the stream with its first question, because a server need not answer before; gives the names
    /// of all services.
    async fn open<T>(server: T, version: &'static str, limits: &Limits) -> Result<(Self, Vec<String>), Status>
    where
        T: GrpcService<Body>,
        T::Error: Into<StdError>,
        T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
        <T::ResponseBody as http_body::Body>::Error: Into<StdError> + Send,
    {
        let (questions, asked) = mpsc::channel(1);
        let gone = |_| Status::unavailable("the stream ended before it began");
        questions.send(question(MessageRequest::ListServices("*".to_owned()))).await.map_err(gone)?;
        let mut grpc = Grpc::new(server).max_decoding_message_size(limits.schema.bytes_max);
        grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
        // The messages of v1 and v1alpha are the same on the wire; only the path differs.
        let codec: ProstCodec<ServerReflectionRequest, ServerReflectionResponse> = ProstCodec::default();
        let request = Request::new(ReceiverStream::new(asked));
        let answers = grpc.streaming(request, PathAndQuery::from_static(version), codec).await?.into_inner();
        let mut this = Self { questions, answers, questions_left: limits.questions_max };
        match this.answer().await? {
            MessageResponse::ListServicesResponse(list) => {
                Ok((this, list.service.into_iter().map(|service| service.name).collect()))
            }
            MessageResponse::ErrorResponse(error) => {
                Err(Status::new(error.error_code.into(), error.error_message))
            }
            _ => Err(Status::internal("it did not list its services when asked to")),
        }
    }

    /// The files that answer a question; none if the server can't answer it.
    async fn files(&mut self, asked: MessageRequest) -> Result<Option<Vec<Vec<u8>>>, Fault> {
        let Some(left) = self.questions_left.checked_sub(1) else {
            return Err(fault("its files import others without end", "upload its .proto files instead"));
        };
        self.questions_left = left;
        let gone =
            || fault("it ended the conversation early", "try again, or upload its .proto files instead");
        self.questions.send(question(asked)).await.map_err(|_| gone())?;
        match self.answer().await.map_err(|status| unanswered(&status))? {
            MessageResponse::FileDescriptorResponse(files) => Ok(Some(files.file_descriptor_proto)),
            MessageResponse::ErrorResponse(_) => Ok(None),
            _ => Err(fault("it answered another question than was asked", "upload its .proto files instead")),
        }
    }

    async fn answer(&mut self) -> Result<MessageResponse, Status> {
        let answer = self.answers.message().await?;
        let early = || Status::unavailable("it ended the conversation early");
        answer.ok_or_else(early)?.message_response.ok_or_else(|| Status::internal("an answer is empty"))
    }
}

fn question(asked: MessageRequest) -> ServerReflectionRequest {
    ServerReflectionRequest { host: String::new(), message_request: Some(asked) }
}

fn is_reflection(service: &str) -> bool {
    service.starts_with("grpc.reflection.")
}

fn unanswered(status: &Status) -> Fault {
    let message: String =
        status.message().chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let problem = format!("it can't be asked: {:?}, {message}", status.code());
    let help = match status.code() {
        Code::Unimplemented => "switch its reflection on, or upload its .proto files instead",
        Code::Unauthenticated | Code::PermissionDenied => "let Transom use its reflection",
        _ => "check its address and that it is up",
    };
    fault(problem, help)
}

fn fault(problem: impl Into<String>, help: &str) -> Fault {
    Fault::new("(reflection)", problem, help)
}

const V1: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const V1ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;

    use tokio::net::TcpListener;
    use tokio::task::JoinSet;
    use tokio_stream::Stream;
    use tokio_stream::StreamExt;
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::Response;
    use tonic::service::Routes;
    use tonic::transport::Channel;
    use tonic::transport::Endpoint;
    use tonic::transport::Server;
    use tonic_reflection::pb::v1::ErrorResponse;
    use tonic_reflection::pb::v1::FileDescriptorResponse;
    use tonic_reflection::pb::v1::ListServiceResponse;
    use tonic_reflection::pb::v1::ServiceResponse;
    use tonic_reflection::pb::v1::server_reflection_server::ServerReflection;
    use tonic_reflection::pb::v1::server_reflection_server::ServerReflectionServer;
    use tonic_reflection::server::Builder;

    use super::*;

    async fn serve(routes: Routes) -> (Channel, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let served =
                Server::builder().add_routes(routes).serve_with_incoming(TcpListenerStream::new(listener));
            served.await.unwrap();
        });
        (Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy(), tasks)
    }

    fn pets() -> Schema {
        let files = [
            (
                "pets/v1/pets.proto",
                "syntax = \"proto3\"; package pets.v1; import \"pets/v1/pet.proto\"; import \"google/api/annotations.proto\";
                 service Pets { rpc Get(Pet) returns (stream Pet) { option (google.api.http) = { get: \"/v1/{name}\" }; } }",
            ),
            (
                "pets/v1/pet.proto",
                "syntax = \"proto3\"; package pets.v1; import \"google/protobuf/timestamp.proto\";
                 message Pet { string name = 1; google.protobuf.Timestamp born = 2; }",
            ),
        ];
        let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
        compile::protos(files.into(), &[], &schema::Limits::default()).unwrap()
    }

    fn check(reflected: &Reflected) {
        assert_eq!(reflected.services, ["pets.v1.Pets"]);
        assert!(reflected.missing.is_empty());
        let rpc = reflected.schema.method("/pets.v1.Pets/Get").unwrap();
        assert_eq!(rpc.method.kind, crate::call::Kind::ServerStream);
        // Options survive, so REST routes do.
        let http = reflected.schema.pool().get_extension_by_name("google.api.http").unwrap();
        assert!(rpc.descriptor.options().has_extension(&http));
    }

    #[tokio::test]
    async fn a_server_of_v1_alone_is_read() {
        let set = pets().descriptor_set().to_vec();
        let service = Builder::configure().register_encoded_file_descriptor_set(&set).build_v1().unwrap();
        let (channel, _tasks) = serve(Routes::new(service)).await;
        check(&fetch(channel, &[], &Limits::default()).await.unwrap());
    }

    #[tokio::test]
    async fn a_server_of_v1alpha_alone_is_read() {
        let set = pets().descriptor_set().to_vec();
        let service =
            Builder::configure().register_encoded_file_descriptor_set(&set).build_v1alpha().unwrap();
        let (channel, _tasks) = serve(Routes::new(service)).await;
        check(&fetch(channel, &[], &Limits::default()).await.unwrap());
    }

    #[tokio::test]
    async fn a_server_without_reflection_is_told_apart() {
        let (channel, _tasks) = serve(Routes::default()).await;
        let faults = fetch(channel, &[], &Limits::default()).await.unwrap_err();
        assert!(faults[0].help.contains("switch its reflection on"), "{faults:?}");
    }

    type Answer = dyn Fn(&MessageRequest) -> Option<MessageResponse> + Send + Sync;

    /// Answers by a script; with silence where the script has nothing.
    struct Scripted(Arc<Answer>);

    #[tonic::async_trait]
    impl ServerReflection for Scripted {
        type ServerReflectionInfoStream =
            Pin<Box<dyn Stream<Item = Result<ServerReflectionResponse, Status>> + Send>>;

        async fn server_reflection_info(
            &self,
            request: Request<Streaming<ServerReflectionRequest>>,
        ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
            let answer = self.0.clone();
            let answers = request.into_inner().filter_map(move |asked| {
                let message_response = Some(answer(&asked.ok()?.message_request?)?);
                Some(Ok(ServerReflectionResponse { message_response, ..ServerReflectionResponse::default() }))
            });
            Ok(Response::new(Box::pin(answers)))
        }
    }

    fn list(names: &[&str]) -> MessageResponse {
        let service = names.iter().map(|name| ServiceResponse { name: (*name).to_owned() }).collect();
        MessageResponse::ListServicesResponse(ListServiceResponse { service })
    }

    fn file(bytes: Vec<u8>) -> MessageResponse {
        MessageResponse::FileDescriptorResponse(FileDescriptorResponse { file_descriptor_proto: vec![bytes] })
    }

    fn absent() -> MessageResponse {
        MessageResponse::ErrorResponse(ErrorResponse { error_code: 5, error_message: "not found".into() })
    }

    fn importing(name: &str, imports: &[&str]) -> Vec<u8> {
        let dependency = imports.iter().map(|import| (*import).to_owned()).collect();
        let file = prost_types::FileDescriptorProto {
            name: Some(name.to_owned()),
            dependency,
            ..prost_types::FileDescriptorProto::default()
        };
        prost::Message::encode_to_vec(&file)
    }

    async fn scripted(
        limits: Limits,
        answer: impl Fn(&MessageRequest) -> Option<MessageResponse> + Send + Sync + 'static,
    ) -> Result<Reflected, String> {
        let service = ServerReflectionServer::new(Scripted(Arc::new(answer)));
        let (channel, _tasks) = serve(Routes::new(service)).await;
        fetch(channel, &[], &limits).await.map_err(|faults| faults[0].to_string())
    }

    #[tokio::test]
    async fn imports_without_end_are_bounded() {
        let endless = |asked: &MessageRequest| {
            Some(match asked {
                MessageRequest::ListServices(_) => list(&["p.S"]),
                MessageRequest::FileContainingSymbol(_) => file(importing("0", &["1"])),
                MessageRequest::FileByFilename(name) => {
                    file(importing(name, &[format!("{}", name.parse::<u64>().unwrap() + 1).as_str()]))
                }
                _ => absent(),
            })
        };
        let limits = Limits { questions_max: 50, ..Limits::default() };
        assert!(scripted(limits, endless).await.unwrap_err().contains("import others without end"));
        let schema = schema::Limits { files_max: 50, ..schema::Limits::default() };
        let limits = Limits { schema, ..Limits::default() };
        assert!(scripted(limits, endless).await.unwrap_err().contains("more than 50 files"));
        let schema = schema::Limits { bytes_max: 500, ..schema::Limits::default() };
        let limits = Limits { schema, ..Limits::default() };
        assert!(scripted(limits, endless).await.unwrap_err().contains("or 500 bytes"));
    }

    #[tokio::test]
    async fn garbage_and_unknown_editions_are_refused() {
        let sends = |bytes: &'static [u8]| {
            scripted(Limits::default(), move |asked| {
                Some(match asked {
                    MessageRequest::ListServices(_) => list(&["p.S"]),
                    _ => file(bytes.to_vec()),
                })
            })
        };
        assert!(sends(b"\xff\xff\xff").await.unwrap_err().contains("not a serialized FileDescriptorProto"));
        assert!(sends(b"\x0a\x09../a.protoo").await.is_err());
        let edition = sends(b"\x0a\x07a.proto\x62\x08editions\x70\x8f\x4e").await.unwrap_err();
        assert!(edition.starts_with("a.proto: ") && edition.contains("edition"), "{edition}");
    }

    #[tokio::test]
    async fn what_is_listed_and_not_described_is_named() {
        let set = pets();
        let reflected = scripted(Limits::default(), move |asked| {
            Some(match asked {
                MessageRequest::ListServices(_) => {
                    list(&["pets.v1.Pets", "ghost.Ghost", "grpc.reflection.v1.ServerReflection"])
                }
                MessageRequest::FileContainingSymbol(name) if name == "pets.v1.Pets" => {
                    file(set.file_of_symbol(name).unwrap().bytes.to_vec())
                }
                MessageRequest::FileByFilename(name) => {
                    set.file(name).map_or_else(absent, |found| file(found.bytes.to_vec()))
                }
                _ => absent(),
            })
        });
        let reflected = reflected.await.unwrap();
        assert_eq!(reflected.missing, ["ghost.Ghost"]);
        check(&Reflected { missing: Vec::new(), ..reflected });
    }

    #[tokio::test]
    async fn a_missing_import_names_its_importer() {
        let refusal = scripted(Limits::default(), |asked| {
            Some(match asked {
                MessageRequest::ListServices(_) => list(&["p.S"]),
                MessageRequest::FileContainingSymbol(_) => file(importing("a.proto", &["b.proto"])),
                _ => absent(),
            })
        });
        assert!(
            refusal.await.unwrap_err().starts_with("a.proto: it imports \"b.proto\", which is not there")
        );
    }

    #[tokio::test]
    async fn silence_and_crowds_are_bounded() {
        let limits = Limits { timeout: Duration::from_millis(100), ..Limits::default() };
        assert!(scripted(limits, |_| None).await.unwrap_err().contains("did not tell all within 100ms"));
        let limits = Limits { services_max: 2, ..Limits::default() };
        let crowd = scripted(limits, |_| Some(list(&["a.A", "a.B", "a.C"])));
        assert!(crowd.await.unwrap_err().contains("lists 3 services"));
        assert!(scripted(limits, |_| Some(list(&[]))).await.unwrap_err().contains("lists no service"));
        assert!(scripted(limits, |_| Some(absent())).await.unwrap_err().contains("can't be asked"));
        assert!(scripted(limits, |_| Some(file(vec![]))).await.unwrap_err().contains("can't be asked"));
    }
}

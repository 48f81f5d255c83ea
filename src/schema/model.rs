//! The compiled descriptors of one module, and every look-up that routing and reflection need.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use bytes::BufMut;
use bytes::Bytes;
use prost_reflect::DescriptorPool;
use prost_reflect::MethodDescriptor;
use prost_reflect::ServiceDescriptor;
use sha2::Digest as _;
use sha2::Sha256;

use crate::call::Idempotency;
use crate::call::Kind;
use crate::call::Method;
use crate::call::Streams;
use crate::schema::Traits;
use crate::schema::comments::Comments;
use crate::schema::lines::Lines;
use crate::schema::scan;

/// Compiled descriptors of one module. Immutable; a clone costs one reference count.
#[derive(Clone)]
pub struct Schema {
    inner: Arc<Inner>,
}

/// One service that the module's own files declare.
#[derive(Debug, Clone)]
pub struct Service {
    /// `pkg.Service`.
    pub name: Arc<str>,
    /// Import name of the file that declares it.
    pub file: Arc<str>,
    /// In the order of the file.
    pub methods: Vec<Rpc>,
    /// The descriptor, for options and types.
    pub descriptor: ServiceDescriptor,
}

/// One method: its name for routing, its descriptor for types.
#[derive(Debug, Clone)]
pub struct Rpc {
    /// What routing, limits and metrics know it by.
    pub method: Arc<Method>,
    /// Input and output types, and options.
    pub descriptor: MethodDescriptor,
}

/// One `.proto` file of the module, its imports included.
#[derive(Debug, Clone)]
pub struct File {
    /// Import name, such as `pets/v1/pets.proto`.
    pub name: Arc<str>,
    /// A serialized `google.protobuf.FileDescriptorProto`: types resolved, options set, source info
    /// reduced to comments.
    pub bytes: Bytes,
    /// Import names, in the order of the file.
    pub imports: Vec<Arc<str>>,
    /// Whether the module supplied it; the others were found among its dependencies or in Transom.
    pub own: bool,
}

impl File {
    /// Whether both declare the same services, options included.
    pub fn has_same_services(&self, other: &Self) -> bool {
        self.services().eq(other.services())
    }

    fn services(&self) -> impl Iterator<Item = &[u8]> {
        let fields = scan::fields(&self.bytes).map_while(Result::ok);
        fields.filter(|field| field.number == scan::file::SERVICE).map(|field| field.raw)
    }
}

/// SHA-256 over all files, each with its name and length, in the order of their names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The 64 hex digits.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    /// The first 12 hex digits: what people read and type.
    pub fn short(&self) -> String {
        hex(&self.0[..6])
    }

    /// The hash itself.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

struct Inner {
    pool: DescriptorPool,
    traits: Traits,
    digest: Digest,
    /// Importers after what they import.
    files: Vec<File>,
    files_by_name: HashMap<Arc<str>, usize>,
    /// Index into `files` by full name, packages left out.
    symbols: HashMap<Box<str>, u32>,
    comments: HashMap<Arc<str>, Comments>,
    /// Of the module's own files.
    lines: HashMap<Arc<str>, Lines>,
    services: Vec<Service>,
    services_by_name: HashMap<Arc<str>, usize>,
    /// Indices into `services` and its `methods` by path.
    methods: HashMap<Arc<str>, (usize, usize)>,
}

/// What linking hands over.
pub(super) struct Parts {
    pub(super) pool: DescriptorPool,
    pub(super) traits: Traits,
    pub(super) files: Vec<File>,
    pub(super) symbols: HashMap<Box<str>, u32>,
    pub(super) comments: HashMap<Arc<str>, Comments>,
    pub(super) lines: HashMap<Arc<str>, Lines>,
}

impl Schema {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { pool, traits, files, symbols, comments, lines } = parts;
        let files_by_name: HashMap<_, _> =
            (0..).zip(&files).map(|(at, file)| (file.name.clone(), at)).collect();
        let services: Vec<Service> = pool
            .services()
            .filter_map(|service| {
                let file = &files[*files_by_name.get(service.parent_file().name())?];
                file.own.then(|| Service::new(service, file.name.clone()))
            })
            .collect();
        let mut services_by_name = HashMap::new();
        let mut methods = HashMap::new();
        for (at, service) in services.iter().enumerate() {
            services_by_name.insert(service.name.clone(), at);
            for (rpc_at, rpc) in service.methods.iter().enumerate() {
                methods.insert(rpc.method.path.clone(), (at, rpc_at));
            }
        }
        let digest = digest(&files);
        let inner = Inner {
            pool,
            traits,
            digest,
            files,
            files_by_name,
            symbols,
            comments,
            lines,
            services,
            services_by_name,
            methods,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The descriptor pool of this module alone.
    pub fn pool(&self) -> &DescriptorPool {
        &self.inner.pool
    }

    /// What the pool doesn't say: presence, open enums, checked strings.
    pub fn traits(&self) -> &Traits {
        &self.inner.traits
    }

    /// Names the content: equal digests mean equal files.
    pub fn digest(&self) -> Digest {
        self.inner.digest
    }

    /// Services that the module's own files declare, in the order of files.
    pub fn services(&self) -> &[Service] {
        &self.inner.services
    }

    /// By full name, such as `pets.v1.PetStore`.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.inner.services_by_name.get(name).map(|at| &self.inner.services[*at])
    }

    /// By path, such as `/pets.v1.PetStore/GetPet`.
    pub fn method(&self, path: &str) -> Option<&Rpc> {
        let (service, method) = self.inner.methods.get(path)?;
        self.inner.services[*service].methods.get(*method)
    }

    /// Packages of the module's own files, sorted.
    pub fn packages(&self) -> BTreeSet<String> {
        let own = |name: &str| self.file(name).is_some_and(|file| file.own);
        let files = self.inner.pool.files().filter(|file| own(file.name()));
        files.map(|file| file.package_name().to_owned()).collect()
    }

    /// All files, every one after those it imports.
    pub fn files(&self) -> &[File] {
        &self.inner.files
    }

    /// By import name.
    pub fn file(&self, name: &str) -> Option<&File> {
        self.inner.files_by_name.get(name).map(|at| &self.inner.files[*at])
    }

    /// The file that declares a service, method, message, field, oneof, enum, enum value or extension,
    /// by full name without a leading dot. Enum values are named beside their enum, as protobuf has it.
    pub fn file_of_symbol(&self, name: &str) -> Option<&File> {
        self.inner.symbols.get(name).and_then(|at| self.inner.files.get(*at as usize))
    }

    /// The file that declares the extension of a message type by its field number.
    pub fn file_of_extension(&self, extendee: &str, number: u32) -> Option<&File> {
        let extension = self.inner.pool.get_message_by_name(extendee)?.get_extension(number)?;
        self.file(extension.parent_file().name())
    }

    /// Field numbers of all known extensions of a message type, sorted; none if there is no such type.
    pub fn extension_numbers(&self, extendee: &str) -> Option<Vec<u32>> {
        let message = self.inner.pool.get_message_by_name(extendee)?;
        let numbers: BTreeSet<u32> = message.extensions().map(|extension| extension.number()).collect();
        Some(numbers.into_iter().collect())
    }

    /// A file and all that it imports, directly or not, every one after those it imports. Empty if there
    /// is no such file.
    pub fn closure(&self, name: &str) -> Vec<&File> {
        let Some(start) = self.inner.files_by_name.get(name) else { return Vec::new() };
        let mut wanted = HashSet::from([*start]);
        // Files come after their imports, so one walk backwards meets each importer first.
        for at in (0..=*start).rev() {
            if wanted.contains(&at) {
                let imports = self.inner.files[at].imports.iter();
                wanted.extend(imports.filter_map(|import| self.inner.files_by_name.get(import)));
            }
        }
        (0..=*start).filter(|at| wanted.contains(at)).map(|at| &self.inner.files[at]).collect()
    }

    /// A serialized `google.protobuf.FileDescriptorSet` of all files: compiled again it gives a schema of
    /// the same digest.
    pub fn descriptor_set(&self) -> Bytes {
        let bytes = self.inner.files.iter().map(|file| file.bytes.len() + 12).sum();
        let mut set = Vec::with_capacity(bytes);
        for file in &self.inner.files {
            set.put_u8(0x0a); // field 1, length-delimited
            prost::encoding::encode_varint(file.bytes.len() as u64, &mut set);
            set.put_slice(&file.bytes);
        }
        set.into()
    }

    /// The comment above (or else behind) a declaration, by its file and the path that its descriptor's
    /// `path()` gives, as `google.protobuf.SourceCodeInfo` defines it.
    pub fn comment(&self, file: &str, path: &[i32]) -> Option<&str> {
        self.inner.comments.get(file)?.at(path)
    }

    /// The line, counted from 1, of what a path of `google.protobuf.SourceCodeInfo` points at in one of the
    /// module's own files, or of what surrounds it. What was compiled from descriptors has the lines that these
    /// have: those that [`descriptor_set`](Self::descriptor_set) gives only keep the places of comments.
    pub fn line(&self, file: &str, path: &[i32]) -> Option<u32> {
        self.inner.lines.get(file)?.at(path)
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema")
            .field("digest", &self.inner.digest)
            .field("files", &self.inner.files.len())
            .field("services", &self.inner.services.len())
            .finish()
    }
}

impl Service {
    fn new(descriptor: ServiceDescriptor, file: Arc<str>) -> Self {
        let name: Arc<str> = descriptor.full_name().into();
        let methods = descriptor.methods().map(|method| Rpc::new(method, name.clone())).collect();
        Self { name, file, methods, descriptor }
    }
}

impl Rpc {
    fn new(descriptor: MethodDescriptor, service: Arc<str>) -> Self {
        let kind = Kind::of(
            Streams::from(descriptor.is_client_streaming()),
            Streams::from(descriptor.is_server_streaming()),
        );
        let method = Method {
            path: format!("/{service}/{}", descriptor.name()).into(),
            service,
            name: descriptor.name().into(),
            kind,
            idempotency: idempotency(&descriptor),
        };
        Self { method: Arc::new(method), descriptor }
    }
}

fn idempotency(descriptor: &MethodDescriptor) -> Idempotency {
    use prost_types::method_options::IdempotencyLevel;
    let proto = descriptor.method_descriptor_proto();
    match proto.options.as_ref().map(|options| options.idempotency_level()) {
        Some(IdempotencyLevel::NoSideEffects) => Idempotency::NoSideEffects,
        Some(IdempotencyLevel::Idempotent) => Idempotency::Idempotent,
        Some(IdempotencyLevel::IdempotencyUnknown) | None => Idempotency::Unknown,
    }
}

fn digest(files: &[File]) -> Digest {
    let mut sorted: Vec<&File> = files.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut hash = Sha256::new();
    for file in sorted {
        // Lengths keep one file's end from reading as the next one's start.
        hash.update((file.name.len() as u64).to_be_bytes());
        hash.update(file.name.as_bytes());
        hash.update((file.bytes.len() as u64).to_be_bytes());
        hash.update(&file.bytes);
    }
    Digest(hash.finalize().into())
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

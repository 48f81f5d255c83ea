//! Descriptors through the public door: what compiles, what it knows, what is refused and how.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use bytes::Bytes;
use prost::Message;
use prost_types::DescriptorProto;
use prost_types::EnumDescriptorProto;
use prost_types::EnumValueDescriptorProto;
use prost_types::FieldDescriptorProto;
use prost_types::FileDescriptorProto;
use prost_types::FileDescriptorSet;
use prost_types::MessageOptions;
use prost_types::MethodDescriptorProto;
use prost_types::ServiceDescriptorProto;
use prost_types::SourceCodeInfo;
use prost_types::field_descriptor_proto::Label;
use prost_types::field_descriptor_proto::Type;

use transom::call::Idempotency;
use transom::call::Kind;
use transom::schema::Limits;
use transom::schema::Schema;
use transom::schema::compile;
use transom::schema::source;

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/descriptors").join(path)
}

fn shop() -> Schema {
    let files = source::protos(&at("good"), &Limits::default()).expect("the files are there");
    compile::protos(files, &[], &Limits::default()).expect("they are well-formed")
}

fn shop_set() -> Bytes {
    source::descriptor_set(&at("sets/shop.binpb"), &Limits::default()).expect("the set is there")
}

fn text(files: &[(&str, &str)]) -> Result<Schema, String> {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
    compile::protos(files, &[], &Limits::default()).map_err(|faults| faults[0].to_string())
}

fn binary(file: FileDescriptorProto) -> Result<Schema, String> {
    let file = FileDescriptorProto { name: Some("a.proto".to_owned()), ..file };
    bytes(file.encode_to_vec())
}

fn bytes(file: Vec<u8>) -> Result<Schema, String> {
    let compiled = compile::descriptors(vec![file.into()], &[], &Limits::default());
    compiled.map_err(|faults| faults[0].to_string())
}

#[test]
fn methods_are_found_by_path() {
    let schema = shop();
    let kinds: Vec<(&str, Kind, Idempotency)> = schema.services()[0]
        .methods
        .iter()
        .map(|rpc| (&*rpc.method.name, rpc.method.kind, rpc.method.idempotency))
        .collect();
    assert_eq!(
        kinds,
        [
            ("GetItem", Kind::Unary, Idempotency::NoSideEffects),
            ("PutItem", Kind::Unary, Idempotency::Idempotent),
            ("Upload", Kind::ClientStream, Idempotency::Unknown),
            ("Watch", Kind::ServerStream, Idempotency::Unknown),
            ("Chat", Kind::Bidi, Idempotency::Unknown),
        ]
    );
    let rpc = schema.method("/shop.v1.Shop/GetItem").unwrap();
    assert_eq!(&*rpc.method.service, "shop.v1.Shop");
    assert_eq!(rpc.descriptor.output().full_name(), "shop.v1.Item");
    assert!(schema.method("/shop.v1.Shop/getItem").is_none());
    assert_eq!(&*schema.service("shop.v1.Shop").unwrap().file, "shop/v1/shop.proto");
    assert_eq!(schema.services().len(), 1);
    assert_eq!(schema.packages().into_iter().collect::<Vec<_>>(), ["shop.v1"]);
}

#[test]
fn options_are_those_that_protoc_writes() {
    let (ours, protocs) = (shop(), compile::descriptor_set(&shop_set(), &[], &Limits::default()).unwrap());
    let bare = |schema: &Schema, name: &str| {
        let file = FileDescriptorProto::decode(schema.file(name).unwrap().bytes.clone()).unwrap();
        let linked = schema.pool().get_file_by_name(name).unwrap().encode_to_vec();
        (FileDescriptorProto { source_code_info: None, ..file }, linked)
    };
    for file in ours.files().iter().filter(|file| file.own) {
        let (ours, protocs) = (bare(&ours, &file.name), bare(&protocs, &file.name));
        assert_eq!(ours.0, protocs.0, "{}", file.name);
        assert_eq!(ours.1, protocs.1, "{}: the bytes, with the options that prost does not know", file.name);
    }
}

#[test]
fn comments_are_found_by_path() {
    for schema in [shop(), compile::descriptor_set(&shop_set(), &[], &Limits::default()).unwrap()] {
        let service = &schema.services()[0];
        let comment = |path: &[i32]| schema.comment("shop/v1/shop.proto", path);
        assert_eq!(comment(service.descriptor.path()), Some(" Sells things.\n"));
        assert_eq!(
            comment(service.methods[0].descriptor.path()),
            Some(" Finds one item.\n\n It may be sold out.\n")
        );
        assert_eq!(comment(service.methods[1].descriptor.path()), None);
        let item = schema.pool().get_message_by_name("shop.v1.Item").unwrap();
        assert_eq!(comment(item.get_field_by_name("price").unwrap().path()), Some(" What it costs.\n"));
        let size = item.get_field_by_name("size").unwrap();
        assert_eq!(comment(size.path()), Some(" Seen through three public imports.\n"));
    }
}

#[test]
fn a_digest_names_the_content() {
    let schema = shop();
    assert_eq!(schema.digest(), shop().digest());
    let again = compile::descriptor_set(&schema.descriptor_set(), &[], &Limits::default()).unwrap();
    assert_eq!(again.digest(), schema.digest(), "what is stored is what was compiled");
    assert_eq!(schema.digest().hex().len(), 64);
    assert!(schema.digest().hex().starts_with(&schema.digest().short()));
    let file = "syntax = \"proto3\"; message A {}";
    let one = text(&[("a.proto", file)]).unwrap().digest();
    assert_eq!(one, text(&[("a.proto", file)]).unwrap().digest());
    assert_ne!(one, text(&[("b.proto", file)]).unwrap().digest());
    assert_ne!(one, text(&[("a.proto", "syntax = \"proto3\"; message A { bool b = 1; }")]).unwrap().digest());
}

#[test]
fn reflection_finds_every_kind_of_symbol() {
    let schema = shop();
    for symbol in [
        "shop.v1.Shop",
        "shop.v1.Shop.GetItem",
        "shop.v1.Item",
        "shop.v1.Item.Part.Inner",
        "shop.v1.Item.Part.Inner.whole",
        "shop.v1.Item.price",
        "shop.v1.Item.kind",
        "shop.v1.Item.State",
        "shop.v1.Item.SALE",
        "shop.v1.Item.PartsEntry",
    ] {
        assert_eq!(
            schema.file_of_symbol(symbol).map(|file| &*file.name),
            Some("shop/v1/shop.proto"),
            "{symbol}"
        );
    }
    for symbol in ["shop.v1.tag", "shop.v1.Old.deeper", "shop.v1.Old.Entry", "shop.v1.Old.entry"] {
        assert_eq!(
            schema.file_of_symbol(symbol).map(|file| &*file.name),
            Some("shop/v1/old.proto"),
            "{symbol}"
        );
    }
    assert!(schema.file_of_symbol("google.protobuf.Timestamp").is_some_and(|file| !file.own));
    for absent in ["shop", "shop.v1", "", ".shop.v1.Shop", "shop.v1.Nobody"] {
        assert!(schema.file_of_symbol(absent).is_none(), "{absent}");
    }
}

#[test]
fn reflection_finds_extensions_and_closures() {
    let schema = shop();
    assert_eq!(schema.extension_numbers("shop.v1.Old"), Some(vec![100, 101, 1000]));
    assert_eq!(schema.extension_numbers("shop.v1.Item"), Some(vec![]));
    assert_eq!(schema.extension_numbers("shop.v1.Nobody"), None);
    let file = schema.file_of_extension("google.protobuf.MethodOptions", 72_295_728).unwrap();
    assert_eq!(&*file.name, "google/api/annotations.proto");
    assert!(schema.file_of_extension("shop.v1.Old", 102).is_none());

    let names = |name| schema.closure(name).iter().map(|file| file.name.to_string()).collect::<Vec<_>>();
    assert_eq!(
        names("shop/v1/all.proto"),
        [
            "google/protobuf/descriptor.proto",
            "shop/v1/old.proto",
            "shop/v1/size.proto",
            "shop/v1/more.proto",
            "shop/v1/all.proto"
        ]
    );
    assert!(names("none.proto").is_empty());
    let all = schema.closure("shop/v1/shop.proto");
    assert_eq!(all.len(), schema.files().len(), "nothing is there that nobody imports");
    // What is served is what was declared: public imports are still public.
    let served =
        FileDescriptorProto::decode(schema.file("shop/v1/all.proto").unwrap().bytes.clone()).unwrap();
    assert_eq!((served.dependency.len(), served.public_dependency), (1, vec![0]));
}

#[test]
fn an_image_of_buf_is_a_descriptor_set() {
    let set = FileDescriptorSet::decode(shop_set()).unwrap();
    let mut image = Vec::new();
    for file in FileDescriptorSet::decode(shop_set()).unwrap().file {
        let file = file.encode_to_vec();
        // Field 8042 of each file: whether it is an import, and its module.
        let tail = b"\xd2\xf6\x03\x09\x08\x00\x12\x05\x0a\x03buf";
        image.push(0x0a);
        prost::encode_length_delimiter(file.len() + tail.len(), &mut image).unwrap();
        image.extend_from_slice(&file);
        image.extend_from_slice(tail);
    }
    let image = compile::descriptor_set(&image.into(), &[], &Limits::default()).unwrap();
    let set = compile::descriptor_set(&set.encode_to_vec().into(), &[], &Limits::default()).unwrap();
    assert_eq!(image.digest(), set.digest());
}

#[test]
fn modules_build_on_modules() {
    let common = text(&[(
        "common/v1/id.proto",
        "syntax = \"proto3\"; package common.v1; message Id { string id = 1; } \
                       service Ids { rpc Next(Id) returns (Id); }",
    )])
    .unwrap();
    let user = "syntax = \"proto3\"; package u.v1; import \"common/v1/id.proto\"; \
                service U { rpc M(common.v1.Id) returns (common.v1.Id); }";
    let files = || vec![("u.proto".to_owned(), user.as_bytes().to_vec())];
    let faults = compile::protos(files(), &[], &Limits::default()).unwrap_err();
    assert!(
        faults[0].to_string().starts_with("u.proto:1: it imports \"common/v1/id.proto\", which is not there")
    );
    let schema = compile::protos(files(), &[common], &Limits::default()).unwrap();
    let services: Vec<&str> = schema.services().iter().map(|service| &*service.name).collect();
    assert_eq!(services, ["u.v1.U"], "the services of another module are that module's");
    assert_eq!(schema.packages().into_iter().collect::<Vec<_>>(), ["u.v1"]);
    assert!(schema.method("/common.v1.Ids/Next").is_none());
    assert!(schema.file("common/v1/id.proto").is_some_and(|file| !file.own));
}

#[test]
fn an_uploaded_copy_wins_over_the_bundled_file() {
    let http = "syntax = \"proto3\"; package google.api; message HttpRule { string mine = 900; }";
    let user = "syntax = \"proto3\"; import \"google/api/annotations.proto\"; message A {}";
    let schema = text(&[("google/api/http.proto", http), ("a.proto", user)]).unwrap();
    let rule = schema.pool().get_message_by_name("google.api.HttpRule").unwrap();
    assert!(rule.get_field_by_name("mine").is_some());
    assert!(schema.file("google/api/http.proto").is_some_and(|file| file.own));
}

#[test]
fn all_that_is_bundled_links_together() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("protos");
    let names: Vec<String> = source::protos(&root, &Limits::default())
        .unwrap()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("google/") || name.starts_with("buf/"))
        .collect();
    assert!(30 < names.len());
    let imports: String = names.iter().map(|name| format!("import \"{name}\";\n")).collect();
    let schema = text(&[("all.proto", &format!("syntax = \"proto3\";\n{imports}"))]).unwrap();
    for name in names {
        assert!(
            transom::schema::is_bundled(&name),
            "{name} is not embedded: add it to src/schema/bundled.rs"
        );
        assert!(schema.file(&name).is_some_and(|file| !file.own));
    }
}

#[test]
fn faults_are_those_of_the_goldens() {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(at("bad")).unwrap() {
        let case = entry.unwrap().path();
        let compiled = source::protos(&case, &Limits::default())
            .and_then(|files| compile::protos(files, &[], &Limits::default()));
        let faults: String =
            compiled.err().unwrap_or_default().iter().map(|fault| format!("{fault}\n")).collect();
        let golden = case.join("faults.txt");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&golden, &faults).unwrap();
        }
        if faults.is_empty() || fs::read_to_string(&golden).unwrap_or_default() != faults {
            wrong.push(format!("{}:\n{faults}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "run with BLESS=1 and read the diff\n{}", wrong.join("\n"));
}

#[test]
fn sets_with_editions_are_compiled() {
    let set = source::descriptor_set(&at("sets/edition.binpb"), &Limits::default()).unwrap();
    let schema = compile::descriptor_set(&set, &[], &Limits::default()).unwrap();
    assert_eq!(schema.method("/e.v1.S/M").unwrap().descriptor.input().full_name(), "e.v1.A");
    let served = schema.file("edition.proto").unwrap();
    assert!(set.windows(served.bytes.len()).any(|part| part == served.bytes), "as protoc wrote it");
    let user = schema.pool().get_message_by_name("B").unwrap();
    assert_eq!(user.get_field(1).unwrap().kind().as_message().unwrap().full_name(), "e.v1.A");
}

#[test]
fn lists_are_packed_as_the_text_says() {
    let packed = |text_of: &str| {
        let schema = text(&[("a.proto", text_of)]).unwrap();
        let message = schema.pool().get_message_by_name("M").unwrap();
        let again = compile::descriptor_set(&schema.descriptor_set(), &[], &Limits::default()).unwrap();
        assert_eq!(again.digest(), schema.digest());
        message.fields().map(|field| field.is_packed()).collect::<Vec<_>>()
    };
    let proto2 = "message M { repeated int32 a = 1; repeated int32 b = 2 [packed = true]; }";
    assert_eq!(packed(proto2), [false, true]);
    let proto3 =
        "syntax = \"proto3\"; message M { repeated int32 a = 1; repeated int32 b = 2 [packed = false]; }";
    assert_eq!(packed(proto3), [true, false]);
    let twice = "message M { repeated int32 a = 1 [packed = true, packed = false]; }";
    assert!(text(&[("a.proto", twice)]).unwrap_err().contains("packed"));
    let number = "message M { repeated int32 a = 1 [packed = 1]; }";
    assert!(text(&[("a.proto", number)]).is_err());
}

#[test]
fn bytes_that_are_no_set_are_refused_with_a_way_out() {
    let refusal = |bytes: &'static [u8]| {
        compile::descriptor_set(&Bytes::from_static(bytes), &[], &Limits::default()).unwrap_err()[0]
            .to_string()
    };
    assert!(refusal(b"").contains("not a serialized FileDescriptorSet"));
    assert!(refusal(b"\x1f\x8b\x08").contains("unpack it first"));
    assert!(refusal(b"{ \"file\": [] }").contains("not a serialized"));
    assert!(refusal(b"\x0a\xff\xff\xff\xff\x0f").contains("not a serialized"));
    assert!(refusal(b"\x0a\x00").contains("(a file without a name)"));
    assert!(refusal(b"\x0a\x0e\x0a\x0c/etc/a.proto").contains("absolute path"));
}

fn message(name: &str) -> DescriptorProto {
    DescriptorProto { name: Some(name.to_owned()), ..DescriptorProto::default() }
}

fn field(name: &str, number: i32, kind: Type, label: Label) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        r#type: Some(kind.into()),
        label: Some(label.into()),
        ..FieldDescriptorProto::default()
    }
}

#[test]
fn descriptors_that_lie_are_refused() {
    let method = |input: &str| MethodDescriptorProto {
        name: Some("M".to_owned()),
        input_type: Some(input.to_owned()),
        output_type: Some(".A".to_owned()),
        ..MethodDescriptorProto::default()
    };
    let service = |input: &str| FileDescriptorProto {
        message_type: vec![message("A")],
        service: vec![ServiceDescriptorProto {
            name: Some("S".to_owned()),
            method: vec![method(input)],
            ..ServiceDescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    };
    assert!(binary(service(".A")).is_ok());
    assert!(binary(service(".B")).unwrap_err().contains("message type \"B\" not found"));
    assert!(binary(service("")).unwrap_err().contains("a message type is missing"));
    let of = |message| FileDescriptorProto { message_type: vec![message], ..FileDescriptorProto::default() };
    assert!(binary(of(message("A/B"))).unwrap_err().contains("is not an identifier"));
    assert!(binary(of(message(""))).unwrap_err().contains("is not an identifier"));
    let package = FileDescriptorProto { package: Some("a..b".to_owned()), ..FileDescriptorProto::default() };
    assert!(binary(package).unwrap_err().contains("not made of identifiers"));

    let map = |fields: Vec<FieldDescriptorProto>| {
        let options = Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() });
        binary(of(DescriptorProto { field: fields, options, ..message("A") }))
    };
    let key = field("key", 1, Type::String, Label::Optional);
    let value = field("value", 2, Type::Int32, Label::Optional);
    assert!(map(vec![key.clone(), value.clone()]).is_ok());
    assert!(map(vec![]).unwrap_err().contains("without key or value"));
    assert!(map(vec![key.clone()]).unwrap_err().contains("without key or value"));
    let floats = field("key", 1, Type::Double, Label::Optional);
    assert!(map(vec![floats, value.clone()]).unwrap_err().contains("that no map has"));
    let many = field("value", 2, Type::Int32, Label::Repeated);
    assert!(map(vec![key, many]).unwrap_err().contains("that no map has"));

    let stray = FieldDescriptorProto { oneof_index: Some(7), ..value };
    assert!(
        binary(of(DescriptorProto { field: vec![stray], ..message("A") })).unwrap_err().contains("oneof")
    );
    let public = FileDescriptorProto { public_dependency: vec![3], ..FileDescriptorProto::default() };
    assert!(binary(public).unwrap_err().contains("does not exist"));
}

#[test]
fn depth_can_not_take_the_stack() {
    let mut nested = Vec::new();
    for _ in 0..100_000 {
        let mut outer = vec![0x1a];
        prost::encode_length_delimiter(nested.len(), &mut outer).unwrap();
        outer.append(&mut nested);
        nested = outer;
        if nested.len() > 60_000 {
            break;
        }
    }
    let mut file = b"\x0a\x07a.proto\x22".to_vec();
    prost::encode_length_delimiter(nested.len(), &mut file).unwrap();
    file.append(&mut nested);
    assert!(bytes(file).unwrap_err().contains("nested more than"));

    let recursive = "syntax = \"proto2\"; import \"google/protobuf/descriptor.proto\"; message R { optional R r = 1; } \
                     extend google.protobuf.FileOptions { optional R r = 50000; } ";
    for hostile in [
        format!("{recursive} option (r) = {{ {} {} }};", "r {".repeat(100_000), "}".repeat(100_000)),
        format!("{recursive} option (r) = {{ {} {} }};", "r <".repeat(100_000), ">".repeat(100_000)),
        format!("{recursive} option (r){} = {{}};", ".r".repeat(100_000)),
        format!("{recursive} {}", "message A {".repeat(100_000)),
        format!("{recursive} {}{}", "message A {".repeat(100_000), "}".repeat(100_000)),
    ] {
        assert!(text(&[("a.proto", &hostile)]).is_err());
    }
    let fine = format!("{recursive} option (r) = {{ {} {} }};", "r {".repeat(30), "}".repeat(30));
    assert!(text(&[("a.proto", &fine)]).is_ok());
}

#[test]
fn options_that_turn_bad_later_are_refused_now() {
    // The first file carries an option that nobody knows yet; the second one declares it, as a type in
    // which those bytes are malformed. Asking for the option would then be a panic.
    let options = b"\x82\xb5\x18\x02\xff\xff"; // 50000, two bytes that are no message
    let mut first = b"\x0a\x07a.proto\x12\x01p\x42".to_vec();
    first.push(u8::try_from(options.len()).unwrap());
    first.extend_from_slice(options);
    let second = "syntax = \"proto2\"; package q; import \"google/protobuf/descriptor.proto\"; import \"a.proto\"; \
                  message R { optional R r = 1; } extend google.protobuf.FileOptions { optional R r = 50000; }";
    let empty = ("a.proto", "syntax = \"proto2\"; package p;");
    let second = text(&[("b.proto", second), empty]).unwrap().file("b.proto").unwrap().bytes.clone();
    assert!(bytes(first.clone()).is_ok(), "an option that nobody knows is no fault");
    let faults = compile::descriptors(vec![first.into(), second], &[], &Limits::default()).unwrap_err();
    assert!(faults[0].to_string().starts_with("a.proto: one of its options is malformed"), "{faults:?}");
}

#[test]
fn webs_and_crowds_end_in_time() {
    // Every file imports all before it, publicly: a linker that follows them naively never ends.
    let files: Vec<(String, String)> = (0..60)
        .map(|at| {
            let imports: String = (0..at).map(|other| format!("import public \"f{other}.proto\";")).collect();
            (format!("f{at}.proto"), format!("syntax = \"proto3\"; {imports} message M{at} {{ M0 m = 1; }}"))
        })
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert_eq!(text(&files).unwrap().files().len(), 60);

    let fields: String =
        (1..15_000).map(|at| format!("int32 f{at} = {at} [deprecated = true]; // a\n")).collect();
    assert!(
        text(&[("a.proto", &format!("syntax = \"proto2\"; message A {{ oneof o {{ {fields} }} }}"))]).is_ok()
    );

    let values: String = (1..19_000).rev().map(|at| format!("V{at} = {at};")).collect();
    assert!(text(&[("a.proto", &format!("syntax = \"proto2\"; enum E {{ {values} }}"))]).is_ok());

    let many = Limits { declarations_max: 1_000, ..Limits::default() };
    let messages: String = (0..1_001).map(|at| format!("message M{at} {{}}")).collect();
    let files = vec![("a.proto".to_owned(), messages.clone().into_bytes())];
    assert!(
        compile::protos(files, &[], &many).unwrap_err()[0]
            .to_string()
            .contains("more than 1000 declarations")
    );
    let halves = (0..2)
        .map(|half| {
            (format!("f{half}.proto"), format!("package p{half}; {}", &messages[..12_000]).into_bytes())
        })
        .collect();
    assert!(compile::protos(halves, &[], &many).is_err(), "the sum of all files counts");
}

#[test]
fn sizes_are_bounded() {
    let limits = Limits { files_max: 2, file_bytes_max: 100, bytes_max: 150, ..Limits::default() };
    let refusal = |sizes: &[usize]| {
        let comment = |size: usize| format!("//{}", "x".repeat(size - 2)).into_bytes();
        let files =
            sizes.iter().enumerate().map(|(at, size)| (format!("f{at}.proto"), comment(*size))).collect();
        compile::protos(files, &[], &limits).map_err(|faults| faults[0].to_string())
    };
    assert!(refusal(&[100, 50]).is_ok());
    assert!(refusal(&[101]).unwrap_err().contains("101 bytes, and a file may have 100"));
    assert!(refusal(&[100, 51]).unwrap_err().contains("151 bytes together"));
    assert!(refusal(&[10, 10, 10]).unwrap_err().contains("more than 2 files"));
    assert!(refusal(&[]).unwrap_err().contains("no .proto file"));
}

#[test]
fn one_name_for_two_files_is_refused() {
    let twice = [("a.proto", "syntax = \"proto3\";"), ("a.proto", "syntax = \"proto3\"; message A {}")];
    assert!(text(&twice).unwrap_err().contains("two files of this name"));
    // A server may send the same file with each answer.
    let file = shop().file("shop/v1/old.proto").unwrap().bytes.clone();
    assert!(compile::descriptors(vec![file.clone(), file], &[], &Limits::default()).is_ok());
}

/// Bytes changed at random give a schema or faults, whatever they are; never the end of the process.
#[test]
fn damaged_sets_are_refused_or_make_sense() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 16).unwrap_or_default()
    };
    let mut set = FileDescriptorSet::decode(shop_set()).unwrap();
    for file in &mut set.file {
        file.source_code_info = None::<SourceCodeInfo>;
    }
    let set = set.encode_to_vec();
    let mut refused = 0;
    for _ in 0..600 {
        let mut damaged = set.clone();
        for _ in 0..=next() % 3 {
            let place = next() % damaged.len();
            damaged[place] = u8::try_from(next() % 256).unwrap();
        }
        match compile::descriptor_set(&damaged.into(), &[], &Limits::default()) {
            Ok(schema) => {
                let again = compile::descriptor_set(&schema.descriptor_set(), &[], &Limits::default());
                assert_eq!(again.unwrap().digest(), schema.digest());
            }
            Err(faults) => {
                assert!(!faults.is_empty());
                refused += 1;
            }
        }
    }
    assert!(0 < refused, "some damage is seen");
}

#[test]
fn an_enum_needs_a_value() {
    let bare = EnumDescriptorProto { name: Some("E".to_owned()), ..EnumDescriptorProto::default() };
    let valued = EnumDescriptorProto {
        value: vec![EnumValueDescriptorProto {
            name: Some("ZERO".to_owned()),
            number: Some(0),
            ..EnumValueDescriptorProto::default()
        }],
        ..bare.clone()
    };
    let of = |declared| FileDescriptorProto { enum_type: vec![declared], ..FileDescriptorProto::default() };
    assert!(binary(of(valued)).is_ok());
    assert!(binary(of(bare)).unwrap_err().contains("at least one value"));
}

#[test]
fn an_extension_range_of_one_number_has_options() {
    let schema = text(&[(
        "a.proto",
        "syntax = \"proto2\";\npackage a; message M {\n  extensions 7 [declaration = { number: 7 full_name: \".a.x\" \
         type: \"string\" }];\n extensions 9, 12 [verification = UNVERIFIED]; }\n extend M { optional string x = 7; }",
    )])
    .unwrap();
    let message = schema.pool().get_message_by_name("a.M").unwrap();
    let ranges: Vec<_> = message.extension_ranges().collect();
    assert_eq!(ranges, [7..8, 9..10, 12..13]);
    let fault = text(&[(
        "a.proto",
        "syntax = \"proto2\"; message M {\n extensions 7 [verification = UNVERIFIED];\n oops }",
    )]);
    let fault = fault.unwrap_err();
    assert!(fault.starts_with("a.proto:3: "), "{fault}");
}

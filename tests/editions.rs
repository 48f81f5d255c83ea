//! Files with an edition, through the public door: what their features come to, and what is refused.

use bytes::Bytes;
use prost::Message;
use prost::encoding::encode_varint;
use prost_reflect::Cardinality;
use prost_reflect::FieldDescriptor;
use prost_types::FileDescriptorProto;

use transom::schema::Limits;
use transom::schema::Schema;
use transom::schema::Traits;
use transom::schema::compile;

const EDITION_2023: u64 = 1000;
const EDITION_2024: u64 = 1001;

/// A file of an edition, from a text that says the same in proto2: its descriptor differs in no more than
/// the fields `syntax` and `edition`.
fn edition(name: &str, number: u64, body: &str, deps: &[Schema]) -> Bytes {
    let text = format!("syntax = \"proto2\";\n{body}");
    let files = vec![(name.to_owned(), text.into_bytes())];
    let schema = compile::protos(files, deps, &Limits::default()).expect("the text is proto2");
    renumbered(&schema.file(name).expect("it was compiled").bytes, number)
}

/// The file, which says no syntax, with an edition.
fn renumbered(file: &Bytes, number: u64) -> Bytes {
    let said = FileDescriptorProto::decode(file.clone()).expect("it is a file").syntax;
    assert!(said.is_none_or(|syntax| syntax == "proto2"));
    let mut bytes = file.to_vec();
    // prost-reflect's own descriptor.proto numbers utf8_validation = NONE as the first compilers did, 1;
    // that of protoc has 3. Before it: the features of fields, messages and oneofs, of two bytes.
    for before in [&b"\xaa\x01\x02\x20"[..], b"\x62\x02\x20", b"\x0a\x02\x20"] {
        let old = [before, &[1]].concat();
        while let Some(at) = bytes.windows(old.len()).position(|part| part == old) {
            bytes[at + before.len()] = 3;
        }
    }
    bytes.extend_from_slice(b"\x62\x08editions\x70");
    encode_varint(number, &mut bytes);
    bytes.into()
}

fn compiled(files: &[Bytes]) -> Schema {
    compile::descriptors(files.to_vec(), &[], &Limits::default()).expect("the files fit together")
}

fn refused(file: Bytes) -> String {
    compile::descriptors(vec![file], &[], &Limits::default()).expect_err("it is refused")[0].to_string()
}

fn of_2023(body: &str) -> Schema {
    compiled(&[edition("a.proto", EDITION_2023, body, &[])])
}

/// The fields of which something is true, as `Message.field`.
fn fields(schema: &Schema, holds: impl Fn(&Traits, &FieldDescriptor) -> bool) -> Vec<String> {
    let fields = schema.pool().all_messages().flat_map(|message| message.fields().collect::<Vec<_>>());
    let own = fields.filter(|field| field.parent_file().name() == "a.proto");
    own.filter(|field| holds(schema.traits(), field)).map(|field| field.full_name().to_owned()).collect()
}

#[test]
fn presence_is_inherited_and_overridden() {
    let body = "
        option features.field_presence = IMPLICIT;
        message M {
          optional int32 plain = 1;
          optional int32 said = 2 [features.field_presence = EXPLICIT];
          optional int32 must = 3 [features.field_presence = LEGACY_REQUIRED];
          optional M inner = 4;
          repeated int32 many = 5;
          map<string, int32> map = 6;
          oneof choice { int32 chosen = 7; }
          extensions 100 to 200;
          message In { optional string deep = 1; }
        }
        extend M { optional int32 more = 100; }";
    let schema = of_2023(body);
    assert_eq!(fields(&schema, Traits::is_implicit), ["M.plain", "M.In.deep"]);
    let required = |_: &Traits, field: &FieldDescriptor| field.cardinality() == Cardinality::Required;
    assert_eq!(fields(&schema, required), ["M.must"]);
    assert!(fields(&of_2023("message M { optional int32 a = 1; }"), Traits::is_implicit).is_empty());
}

#[test]
fn enums_are_open_unless_closed() {
    let body = "
        enum Open { O_ZERO = 0; }
        enum Closed { option features.enum_type = CLOSED; C_ONE = 1; }
        message M {
          option features.enum_type = CLOSED;
          enum Inner { I_ONE = 1; }
          enum Opened { option features.enum_type = OPEN; P_ZERO = 0; }
        }";
    let schema = of_2023(body);
    let is_open = |name: &str| schema.traits().is_open(&schema.pool().get_enum_by_name(name).unwrap());
    assert!(is_open("Open") && is_open("M.Opened"));
    assert!(!is_open("Closed") && !is_open("M.Inner"));
    let body = "enum E { FIRST = 1; } message M { optional E e = 1; }";
    let fault = refused(edition("a.proto", EDITION_2023, body, &[]));
    assert!(fault.starts_with("a.proto: the first value of the open enum \"E\" is not zero"), "{fault}");
}

#[test]
fn lists_are_packed_unless_expanded() {
    let body = "
        enum E { ZERO = 0; }
        message M {
          repeated int32 packed = 1;
          repeated E values = 2;
          repeated int32 expanded = 3 [features.repeated_field_encoding = EXPANDED];
          repeated string names = 4;
          optional int32 one = 5;
          extensions 100 to 200;
        }
        message X {
          option features.repeated_field_encoding = EXPANDED;
          repeated int32 expanded = 1;
          repeated int32 packed = 2 [features.repeated_field_encoding = PACKED];
          extend M { repeated int32 more = 100; }
        }
        extend M { repeated int32 most = 101; }";
    let schema = of_2023(body);
    let packed = |_: &Traits, field: &FieldDescriptor| field.is_packed();
    assert_eq!(fields(&schema, packed), ["M.packed", "M.values", "X.packed"]);
    let extension = |name: &str| schema.pool().get_extension_by_name(name).unwrap().is_packed();
    assert!(!extension("X.more"), "an extension inherits from where it stands");
    assert!(extension("most"));
}

#[test]
fn delimited_messages_become_groups_but_maps_never() {
    let body = "
        option features.message_encoding = DELIMITED;
        message M {
          optional M inner = 1;
          repeated M many = 2;
          optional M plain = 3 [features.message_encoding = LENGTH_PREFIXED];
          map<int32, M> map = 4;
          oneof choice { M chosen = 5; }
          optional int32 number = 6;
          extensions 100 to 200;
        }
        extend M { optional M more = 100; }";
    let schema = of_2023(body);
    let group = |_: &Traits, field: &FieldDescriptor| field.is_group();
    assert_eq!(fields(&schema, group), ["M.inner", "M.many", "M.chosen"]);
    assert!(schema.pool().get_extension_by_name("more").unwrap().is_group());
    let map = |_: &Traits, field: &FieldDescriptor| field.is_map();
    assert_eq!(fields(&schema, map), ["M.map"]);
}

#[test]
fn strings_are_checked_unless_told_otherwise() {
    let body = "
        message M {
          optional string checked = 1;
          repeated string free = 2 [features.utf8_validation = NONE];
          map<string, string> names = 3;
          map<string, string> raw = 4 [features.utf8_validation = NONE];
          optional bytes never = 5;
          extensions 100 to 200;
        }
        message N {
          option features.utf8_validation = NONE;
          optional string loose = 1;
          optional string tight = 2 [features.utf8_validation = VERIFY];
          oneof choice { string chosen = 3; }
        }
        extend M {
          optional string a = 100;
          optional string b = 101 [features.utf8_validation = NONE];
        }";
    let schema = of_2023(body);
    assert_eq!(
        fields(&schema, Traits::verifies_utf8),
        ["M.checked", "M.NamesEntry.key", "M.NamesEntry.value", "N.tight"]
    );
    let extension = |name: &str| {
        schema.traits().extension_verifies_utf8(&schema.pool().get_extension_by_name(name).unwrap())
    };
    assert!(extension("a") && !extension("b"));
}

#[test]
fn members_of_a_oneof_inherit_from_it() {
    let body = "
        message M {
          oneof choice {
            option features.utf8_validation = NONE;
            string chosen = 1;
            string tight = 2 [features.utf8_validation = VERIFY];
          }
          optional string other = 3;
        }";
    assert_eq!(fields(&of_2023(body), Traits::verifies_utf8), ["M.tight", "M.other"]);
}

/// A file whose options and comments all have to survive, in `a.proto`.
const SERVED: &str = "
    package a.v1;
    import \"google/api/annotations.proto\";
    import \"google/protobuf/descriptor.proto\";
    option java_package = \"com.a\";
    option features.field_presence = IMPLICIT;
    extend google.protobuf.FieldOptions { optional string mark = 50001; }
    extend google.protobuf.MessageOptions { optional string sort = 50002; }
    message Pet {
      option (sort) = \"animal\";
      option deprecated = true;
      optional string id = 1 [(mark) = \"key\", features.field_presence = EXPLICIT, json_name = \"ID\"];
      repeated int32 tags = 2;
    }
    service Pets {
      rpc Find(Pet) returns (Pet) {
        option idempotency_level = NO_SIDE_EFFECTS;
        option (google.api.http) = { get: \"/v1/pets/{id}\" };
      }
    }";

#[test]
fn options_survive_and_features_are_gone_from_them() {
    let schema = of_2023(SERVED);
    let pool = schema.pool();
    let rpc = schema.method("/a.v1.Pets/Find").unwrap();
    assert_eq!(rpc.method.idempotency, transom::call::Idempotency::NoSideEffects);
    let http = pool.get_extension_by_name("google.api.http").unwrap();
    let options = rpc.descriptor.options();
    let rule = options.get_extension(&http);
    let get = rule.as_message().unwrap().get_field_by_name("get").unwrap().into_owned();
    assert_eq!(get.as_str(), Some("/v1/pets/{id}"));
    let pet = pool.get_message_by_name("a.v1.Pet").unwrap();
    let sort = pool.get_extension_by_name("a.v1.sort").unwrap();
    assert_eq!(pet.options().get_extension(&sort).as_str(), Some("animal"));
    assert!(pet.descriptor_proto().options.as_ref().unwrap().deprecated());
    let id = pet.get_field_by_name("id").unwrap();
    let mark = pool.get_extension_by_name("a.v1.mark").unwrap();
    assert_eq!(id.options().get_extension(&mark).as_str(), Some("key"));
    assert_eq!(id.json_name(), "ID");
    let features = |options: prost_reflect::DynamicMessage| {
        options
            .get_field_by_name("features")
            .is_some_and(|set| set.as_message().is_some_and(|set| set.fields().next().is_some()))
            || options.unknown_fields().next().is_some()
    };
    assert!(!features(id.options()) && !features(pet.parent_file().options()));
    assert!(!schema.traits().is_implicit(&id));
}

#[test]
fn what_is_served_is_the_file_as_it_came() {
    let came = edition("a.proto", EDITION_2024, SERVED, &[]);
    let schema = compiled(std::slice::from_ref(&came));
    let served = schema.file("a.proto").unwrap().bytes.clone();
    let canonical = |bytes: &Bytes| FileDescriptorProto::decode(bytes.clone()).unwrap();
    assert_eq!(canonical(&served), canonical(&came), "syntax editions, labels and types as they were");
    assert_eq!(canonical(&served).syntax(), "editions");
    assert!(has_edition(&served, EDITION_2024));
    assert_eq!(served.len(), came.len(), "and no byte of features or edition lost");

    // What is stored compiles to the same again, alone and as a dependency.
    let again = compile::descriptor_set(&schema.descriptor_set(), &[], &Limits::default()).unwrap();
    assert_eq!(again.digest(), schema.digest());
    assert_eq!(fields(&again, Traits::is_implicit), fields(&schema, Traits::is_implicit));
    let user = "syntax = \"proto3\"; import \"a.proto\"; message U { a.v1.Pet pet = 1; int32 n = 2; }";
    let files = vec![("u.proto".to_owned(), user.as_bytes().to_vec())];
    let user = compile::protos(files, &[schema], &Limits::default()).unwrap();
    let id = user.pool().get_message_by_name("a.v1.Pet").unwrap().get_field_by_name("id").unwrap();
    assert!(!user.traits().is_implicit(&id));
    assert!(user.traits().is_implicit(&user.pool().get_message_by_name("U").unwrap().get_field(2).unwrap()));
    assert_eq!(user.file("a.proto").unwrap().bytes, served);
}

fn has_edition(file: &[u8], number: u64) -> bool {
    let mut field = vec![0x70];
    encode_varint(number, &mut field);
    file.windows(field.len()).any(|part| part == field)
}

#[test]
fn proto2_proto3_and_editions_live_together() {
    let old = compile::protos(
        vec![(
            "old.proto".to_owned(),
            b"syntax = \"proto2\"; message Old { optional int32 a = 1; }".to_vec(),
        )],
        &[],
        &Limits::default(),
    )
    .unwrap();
    let body = "import \"old.proto\"; message M { optional Old old = 1; optional int32 a = 2; }";
    let file = edition("a.proto", EDITION_2023, body, std::slice::from_ref(&old));
    let schema = compile::descriptors(vec![file], &[old], &Limits::default()).unwrap();
    let field = |message: &str, number| {
        schema.pool().get_message_by_name(message).unwrap().get_field(number).unwrap()
    };
    assert!(!schema.traits().is_implicit(&field("Old", 1)));
    assert!(!schema.traits().is_implicit(&field("M", 2)));
}

#[test]
fn files_imported_for_their_options_are_found_where_they_are() {
    let mut file = edition("a.proto", EDITION_2024, "message M { optional int32 a = 1; }", &[]).to_vec();
    for import in ["google/api/annotations.proto", "nowhere.proto"] {
        file.push(0x7a); // field 15: option_dependency
        encode_varint(import.len() as u64, &mut file);
        file.extend_from_slice(import.as_bytes());
    }
    let schema = compiled(&[file.into()]);
    assert!(schema.file("google/api/annotations.proto").is_some_and(|file| !file.own));
    assert!(schema.pool().get_extension_by_name("google.api.http").is_some());
    assert!(schema.file("nowhere.proto").is_none(), "such an import need not be there");
}

#[test]
fn editions_that_are_not_known_are_refused_by_name() {
    let body = "message M { optional int32 a = 1; }";
    let refusal = |number| refused(edition("a.proto", number, body, &[]));
    assert!(
        refusal(1002).starts_with("a.proto: it uses edition 2026, and only 2023 and 2024"),
        "{}",
        refusal(1002)
    );
    assert!(refusal(9999).starts_with("a.proto: it uses edition 9999, and only"), "{}", refusal(9999));
    let bad = body.replace("a = 1", "a = 1 [features.field_presence = FIELD_PRESENCE_UNKNOWN]");
    let fault = refused(edition("a.proto", EDITION_2023, &bad, &[]));
    assert!(fault.contains("feature field_presence is set to 0"), "{fault}");
}

/// Bytes changed at random give a schema or faults, whatever they are; never the end of the process.
#[test]
fn damaged_files_are_refused_or_make_sense() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 16).unwrap_or_default()
    };
    let body =
        SERVED.replace("repeated int32 tags = 2;", "map<string, Pet> pets = 3; oneof o { Pet one = 4; }");
    let file = edition("a.proto", EDITION_2023, &body, &[]);
    let (mut refused, mut kept) = (0, 0);
    for _ in 0..600 {
        let mut damaged = file.to_vec();
        for _ in 0..=next() % 3 {
            let place = next() % damaged.len();
            damaged[place] = u8::try_from(next() % 256).unwrap();
        }
        match compile::descriptors(vec![damaged.into()], &[], &Limits::default()) {
            Ok(schema) => {
                kept += 1;
                let again = compile::descriptor_set(&schema.descriptor_set(), &[], &Limits::default());
                assert_eq!(again.unwrap().digest(), schema.digest());
            }
            Err(faults) => {
                refused += 1;
                assert!(!faults.is_empty());
            }
        }
    }
    assert!(0 < refused && 0 < kept, "{refused} refused, {kept} kept");
}

// The library's descriptors: messages and clients are made of them when the tests run, so nothing is generated.

import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

const set = fromBinary(FileDescriptorSetSchema, readFileSync(process.env.DESCRIPTORS));
const registry = createFileRegistry(set);

export const Library = registry.getService("transom.demo.v1.Library");
export const ErrorInfo = registry.getMessage("google.rpc.ErrorInfo");
export const ResourceInfo = registry.getMessage("google.rpc.ResourceInfo");
export const Status = registry.getMessage("google.rpc.Status");

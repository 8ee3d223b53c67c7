// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Calls a server as a program in JavaScript does, and prints what it found:
// node client.mjs TARGET FOLDER_OF_PROTOS FOLDER_OF_NODE_MODULES

import { createRequire } from "node:module";
import path from "node:path";

const [target, protos, packages] = process.argv.slice(2);
const require = createRequire(path.join(packages, "client.js"));
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const options = { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true };
const load = (file, dirs) => grpc.loadPackageDefinition(loader.loadSync(file, { ...options, includeDirs: dirs }));
const { inference } = load("grpc_service.proto", [protos]);
const health = load("health.proto", [path.join(path.dirname(require.resolve("grpc-health-check/package.json")), "proto/health/v1")]).grpc.health.v1;

const credentials = grpc.credentials.createInsecure();
const server = new inference.GRPCInferenceService(target, credentials);
const probe = new health.Health(target, credentials);
const deadline = () => ({ deadline: Date.now() + 60_000 });
const call = (client, method, request) =>
  new Promise((resolve, reject) =>
    client[method](request, new grpc.Metadata(), deadline(), (error, answer) => (error ? reject(error) : resolve(answer))),
  );
const codeOf = (promise) =>
  promise.then(
    () => "OK",
    (error) => grpc.status[error.code],
  );

// Tensors are little-endian on every machine: a DataView says so, a typed array does not.
function floats(values) {
  const b = Buffer.alloc(4 * values.length);
  values.forEach((v, i) => b.writeFloatLE(v, 4 * i));
  return b;
}
const readFloats = (b) => Array.from({ length: b.length / 4 }, (_, i) => b.readFloatLE(4 * i));
const readLongs = (b) => Array.from({ length: b.length / 8 }, (_, i) => b.readBigInt64LE(8 * i).toString());
function longs(values) {
  const b = Buffer.alloc(8 * values.length);
  values.forEach((v, i) => b.writeBigInt64LE(BigInt(v), 8 * i));
  return b;
}
function texts(values) {
  return Buffer.concat(
    values.flatMap((v) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(Buffer.byteLength(v));
      return [length, Buffer.from(v)];
    }),
  );
}
function readTexts(b) {
  const out = [];
  for (let at = 0; at < b.length; ) {
    const n = b.readUInt32LE(at);
    out.push(b.toString("utf8", at + 4, at + 4 + n));
    at += 4 + n;
  }
  return out;
}

const request = (model, name, datatype, shape, raw) => ({
  model_name: model, id: "7", inputs: [{ name, datatype, shape }], raw_input_contents: [raw],
});

function stream(n) {
  return new Promise((resolve, reject) => {
    const got = [];
    const s = server.ModelStreamInfer(new grpc.Metadata(), deadline());
    s.on("data", (r) => got.push(r.error_message || r.infer_response.id + ":" + r.infer_response.raw_output_contents[0].readInt32LE(0)));
    s.on("error", reject);
    s.on("end", () => resolve(got));
    const b = Buffer.alloc(4);
    b.writeInt32LE(n);
    s.write(request("count", "n", "INT32", [1], b));
    s.end();
  });
}

const about = await call(server, "ServerMetadata", {});
const meta = await call(server, "ModelMetadata", { name: "scale" });
const scaled = await call(server, "ModelInfer", request("scale", "x", "FP32", [1, 3], floats([1.5, -2, 3])));
const integers = await call(server, "ModelInfer", request("echo", "x", "INT64", [3], longs(["-1", "9223372036854775807", "0"])));
const strings = await call(server, "ModelInfer", request("echo", "x", "BYTES", [3], texts(["", "é", "abc"])));
const typed = await call(server, "ModelInfer", {
  model_name: "echo", inputs: [{ name: "x", datatype: "FP32", shape: [2], contents: { fp32_contents: [0.5, -0.5] } }],
});
console.log(
  JSON.stringify({
    health: (await call(probe, "check", { service: "scale" })).status,
    health_unknown: await codeOf(call(probe, "check", { service: "none" })),
    server: about.name,
    ready: (await call(server, "ServerReady", {})).ready,
    inputs: meta.inputs.map((t) => `${t.name} ${t.datatype} [${t.shape.join(",")}]`),
    id: scaled.id,
    shape: scaled.outputs[0].shape.map(Number),
    scaled: readFloats(scaled.raw_output_contents[0]),
    integers: readLongs(integers.raw_output_contents[0]),
    strings: readTexts(strings.raw_output_contents[0]),
    typed: readFloats(typed.raw_output_contents[0]),
    no_model: await codeOf(call(server, "ModelInfer", request("none", "x", "FP32", [1], floats([1])))),
    wrong_size: await codeOf(call(server, "ModelInfer", request("echo", "x", "FP32", [2], floats([1])))),
    stream: await stream(4),
  }),
);
server.close();
probe.close();

// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package modelfs;

import com.google.gson.Gson;
import com.google.protobuf.ByteString;
import com.google.protobuf.Descriptors;
import com.google.protobuf.Message;
import inference.GrpcService;
import inference.GrpcService.InferTensorContents;
import inference.GrpcService.ModelInferRequest;
import inference.GrpcService.ModelInferResponse;
import inference.GrpcService.ModelMetadataRequest;
import inference.GrpcService.ModelMetadataResponse;
import inference.GrpcService.ModelStreamInferResponse;
import inference.GrpcService.ServerMetadataRequest;
import inference.GrpcService.ServerMetadataResponse;
import inference.GrpcService.ServerReadyRequest;
import inference.GrpcService.ServerReadyResponse;
import io.grpc.CallOptions;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.health.v1.HealthCheckRequest;
import io.grpc.health.v1.HealthGrpc;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.StreamObserver;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** Calls a server as a program in Java does, and prints what it found: Client TARGET. */
public final class Client {
  private final ManagedChannel channel;
  private final HealthGrpc.HealthBlockingStub probe;

  private Client(ManagedChannel channel) {
    this.channel = channel;
    probe = HealthGrpc.newBlockingStub(channel).withDeadlineAfter(60, TimeUnit.SECONDS);
  }

  /** A method of the service, as the generated descriptor of the .proto has it: what a stub is made of. */
  private static <Q extends Message, R extends Message> MethodDescriptor<Q, R> method(String name, Q in, R out) {
    Descriptors.MethodDescriptor m = GrpcService.getDescriptor().findServiceByName("GRPCInferenceService").findMethodByName(name);
    if (m.getInputType() != in.getDescriptorForType() || m.getOutputType() != out.getDescriptorForType()) {
      throw new IllegalArgumentException(name + " takes " + m.getInputType().getName() + " and gives " + m.getOutputType().getName());
    }
    return MethodDescriptor.<Q, R>newBuilder()
        .setType(m.isServerStreaming() ? MethodDescriptor.MethodType.BIDI_STREAMING : MethodDescriptor.MethodType.UNARY)
        .setFullMethodName(MethodDescriptor.generateFullMethodName(m.getService().getFullName(), name))
        .setRequestMarshaller(ProtoUtils.marshaller(in))
        .setResponseMarshaller(ProtoUtils.marshaller(out))
        .build();
  }

  private static final MethodDescriptor<ModelInferRequest, ModelInferResponse> INFER =
      method("ModelInfer", ModelInferRequest.getDefaultInstance(), ModelInferResponse.getDefaultInstance());

  private static CallOptions patience() {
    return CallOptions.DEFAULT.withDeadlineAfter(60, TimeUnit.SECONDS);
  }

  private <Q extends Message, R extends Message> R call(MethodDescriptor<Q, R> method, Q in) {
    return ClientCalls.blockingUnaryCall(channel, method, patience(), in);
  }

  private ModelInferResponse infer(ModelInferRequest in) {
    return call(INFER, in);
  }

  public static void main(String[] args) throws Exception {
    ManagedChannel channel = Grpc.newChannelBuilder(args[0], InsecureChannelCredentials.create()).build();
    try {
      System.out.println(new Gson().toJson(new Client(channel).report()));
    } finally {
      channel.shutdownNow().awaitTermination(10, TimeUnit.SECONDS);
    }
  }

  private Map<String, Object> report() throws Exception {
    Map<String, Object> out = new LinkedHashMap<>();
    out.put("health", probe.check(service("scale")).getStatus().name());
    out.put("health_unknown", codeOf(() -> probe.check(service("none"))));
    out.put("server", call(method("ServerMetadata", ServerMetadataRequest.getDefaultInstance(), ServerMetadataResponse.getDefaultInstance()),
        ServerMetadataRequest.getDefaultInstance()).getName());
    out.put("ready", call(method("ServerReady", ServerReadyRequest.getDefaultInstance(), ServerReadyResponse.getDefaultInstance()),
        ServerReadyRequest.getDefaultInstance()).getReady());
    List<String> inputs = new ArrayList<>();
    call(method("ModelMetadata", ModelMetadataRequest.getDefaultInstance(), ModelMetadataResponse.getDefaultInstance()),
        ModelMetadataRequest.newBuilder().setName("scale").build()).getInputsList()
        .forEach(t -> inputs.add(t.getName() + " " + t.getDatatype() + " " + t.getShapeList().toString().replace(" ", "")));
    out.put("inputs", inputs);
    ModelInferResponse scaled = infer(request("scale", "x", "FP32", floats(1.5f, -2f, 3f), 1, 3));
    out.put("id", scaled.getId());
    out.put("shape", scaled.getOutputs(0).getShapeList());
    out.put("scaled", readFloats(scaled));
    out.put("integers", readLongs(infer(request("echo", "x", "INT64", longs(-1, Long.MAX_VALUE, 0), 3))));
    out.put("strings", readTexts(infer(request("echo", "x", "BYTES", texts("", "é", "abc"), 3))));
    ModelInferRequest typed = ModelInferRequest.newBuilder().setModelName("echo").addInputs(
        ModelInferRequest.InferInputTensor.newBuilder().setName("x").setDatatype("FP32").addShape(2)
            .setContents(InferTensorContents.newBuilder().addFp32Contents(0.5f).addFp32Contents(-0.5f))).build();
    out.put("typed", readFloats(infer(typed)));
    out.put("no_model", codeOf(() -> infer(request("none", "x", "FP32", floats(1), 1))));
    out.put("wrong_size", codeOf(() -> infer(request("echo", "x", "FP32", floats(1), 2))));
    out.put("stream", stream(4));
    return out;
  }

  private List<String> stream(int n) throws Exception {
    List<String> got = new ArrayList<>();
    CompletableFuture<List<String>> end = new CompletableFuture<>();
    MethodDescriptor<ModelInferRequest, ModelStreamInferResponse> method =
        method("ModelStreamInfer", ModelInferRequest.getDefaultInstance(), ModelStreamInferResponse.getDefaultInstance());
    StreamObserver<ModelInferRequest> to = ClientCalls.asyncBidiStreamingCall(channel.newCall(method, patience()), new StreamObserver<>() {
      @Override
      public void onNext(ModelStreamInferResponse r) {
        ModelInferResponse answer = r.getInferResponse();
        got.add(r.getErrorMessage().isEmpty() ? answer.getId() + ":" + buffer(answer).getInt() : r.getErrorMessage());
      }

      @Override
      public void onError(Throwable t) {
        end.completeExceptionally(t);
      }

      @Override
      public void onCompleted() {
        end.complete(got);
      }
    });
    to.onNext(request("count", "n", "INT32", allocate(4).putInt(n), 1));
    to.onCompleted();
    return end.get(60, TimeUnit.SECONDS);
  }

  private static HealthCheckRequest service(String name) {
    return HealthCheckRequest.newBuilder().setService(name).build();
  }

  private static String codeOf(Runnable call) {
    try {
      call.run();
      return "OK";
    } catch (StatusRuntimeException e) {
      return e.getStatus().getCode().name();
    }
  }

  private static ModelInferRequest request(String model, String name, String datatype, ByteBuffer raw, long... shape) {
    ModelInferRequest.InferInputTensor.Builder t = ModelInferRequest.InferInputTensor.newBuilder().setName(name).setDatatype(datatype);
    for (long n : shape) {
      t.addShape(n);
    }
    return ModelInferRequest.newBuilder().setModelName(model).setId("7").addInputs(t)
        .addRawInputContents(ByteString.copyFrom(raw.flip())).build();
  }

  // Tensors are little-endian; a ByteBuffer is not, unless it is told.
  private static ByteBuffer allocate(int bytes) {
    return ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
  }

  private static ByteBuffer buffer(ModelInferResponse r) {
    return r.getRawOutputContents(0).asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
  }

  private static ByteBuffer floats(float... values) {
    ByteBuffer b = allocate(4 * values.length);
    for (float v : values) {
      b.putFloat(v);
    }
    return b;
  }

  private static List<Float> readFloats(ModelInferResponse r) {
    List<Float> out = new ArrayList<>();
    for (ByteBuffer b = buffer(r); b.hasRemaining(); ) {
      out.add(b.getFloat());
    }
    return out;
  }

  private static ByteBuffer longs(long... values) {
    ByteBuffer b = allocate(8 * values.length);
    for (long v : values) {
      b.putLong(v);
    }
    return b;
  }

  private static List<String> readLongs(ModelInferResponse r) {
    List<String> out = new ArrayList<>();
    for (ByteBuffer b = buffer(r); b.hasRemaining(); ) {
      out.add(Long.toString(b.getLong()));
    }
    return out;
  }

  private static ByteBuffer texts(String... values) {
    ByteBuffer b = allocate(1024);
    for (String v : values) {
      byte[] text = v.getBytes(StandardCharsets.UTF_8);
      b.putInt(text.length).put(text);
    }
    return b;
  }

  private static List<String> readTexts(ModelInferResponse r) {
    List<String> out = new ArrayList<>();
    for (ByteBuffer b = buffer(r); b.hasRemaining(); ) {
      byte[] text = new byte[b.getInt()];
      b.get(text);
      out.add(new String(text, StandardCharsets.UTF_8));
    }
    return out;
  }
}

"""A client of MLServer for binary tensors, which it takes over gRPC alone. Runs in MLServer's environment.

A line of JSON on standard input for each measurement, `{"model", "rows": a file of numpy, "seconds"}`; on standard
output a line with the microseconds of each request, and the last answer.
"""

import json
import os
import sys
import time

import grpc
import numpy as np
from mlserver.grpc.dataplane_pb2 import ModelInferRequest
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub


def main() -> None:
    port, core = map(int, sys.argv[1:])
    os.sched_setaffinity(0, {core})
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        for line in sys.stdin:
            asked = json.loads(line)
            rows = np.load(asked["rows"])
            tensor = ModelInferRequest.InferInputTensor(name="rows", datatype="FP64", shape=rows.shape)
            request = ModelInferRequest(
                model_name=asked["model"], inputs=[tensor], raw_input_contents=[rows.astype("<f8").tobytes()]
            )
            took: list[float] = []
            start = time.perf_counter()
            while not took or time.perf_counter() - start < asked["seconds"]:
                before = time.perf_counter()
                answer = stub.ModelInfer(request)
                found = np.frombuffer(answer.raw_output_contents[0], "<i8")
                took.append((time.perf_counter() - before) * 1e6)
            print(json.dumps({"us": took, "answer": found.tolist()}), flush=True)


if __name__ == "__main__":
    main()

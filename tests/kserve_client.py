"""KServe's own client asks a server; run by test_kserve.py, in the environment of `kserve_environment`.

    python kserve_client.py http://HOST:PORT < COLUMNS

COLUMNS is a JSON object: for each input of the model `flights` its datatype and its values. What the client made of
the answers goes to stdout, as JSON.
"""

import asyncio
import json
import sys
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, InferResponse, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

DTYPES = {"BYTES": object, "FP64": np.float64, "INT64": np.int64, "BOOL": np.bool_}


def request(columns: dict[str, Any], *, binary: bool, **more: Any) -> InferRequest:
    inputs = []
    for name, (datatype, values) in columns.items():
        inputs.append(InferInput(name, [len(values)], datatype))
        inputs[-1].set_data_from_numpy(np.array(values, DTYPES[datatype]), binary_data=binary)
    return InferRequest("flights", inputs, request_id="7", **more)


def found(response: InferResponse, headers: dict[str, str]) -> dict[str, Any]:
    """The client does not read `model_version`; the revision is in the headers."""
    outputs = {output.name: output.as_numpy().tolist() for output in response.outputs}
    revision = headers["tidegate-revision"]
    return {"id": response.id, "model": response.model_name, "revision": revision, "outputs": outputs}


async def ask(address: str, columns: dict[str, Any]) -> dict[str, Any]:
    one = [RequestedOutput("predict_proba", parameters={"binary_data": True})]
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:

        async def infer(data: InferRequest | dict[str, Any]) -> dict[str, Any]:
            headers: dict[str, str] = {}
            response = await client.infer(address, data, model_name="flights", response_headers=headers)
            return found(response, headers)

        try:
            await client.infer(address, {"inputs": []}, model_name="flights")
        except httpx.HTTPStatusError as error:
            refusal = str(error)
        return {
            "live": await client.is_server_live(address),
            "ready": await client.is_server_ready(address),
            "model ready": await client.is_model_ready(address, "flights"),
            "other ready": await client.is_model_ready(address, "other"),
            "refusal": refusal,
            "answers": {
                "JSON": await infer(request(columns, binary=False)),
                "a dict": await infer(request(columns, binary=False).to_rest()[0]),
                "binary in": await infer(request(columns, binary=True)),
                "binary out": await infer(request(columns, binary=False, parameters={"binary_data_output": True})),
                "binary": await infer(request(columns, binary=True, parameters={"binary_data_output": True})),
            },
            "one output": await infer(request(columns, binary=True, request_outputs=one)),
        }


print(json.dumps(asyncio.run(ask(sys.argv[1], json.load(sys.stdin))), default=bytes.decode))

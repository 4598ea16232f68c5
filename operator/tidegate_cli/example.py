"""A request that a reader can copy: the first golden row of a bundle, as the protocol writes it."""

import shlex

import msgspec

from tidegate_contract.bundle.manifest import Manifest


def example_request(manifest: Manifest, row: int = 0) -> bytes:
    """The body of an infer request with one golden row."""
    golden = manifest.golden.inputs
    inputs = [
        {
            "name": spec.name,
            "shape": [1, *spec.shape[1:]],
            "datatype": str(spec.datatype),
            "data": [golden[str(column)][row] for column in spec.labels or (spec.name,)],
        }
        for spec in manifest.signature.requested.values()
    ]
    return msgspec.json.encode({"inputs": inputs})


def curl(manifest: Manifest, model: str, port: int) -> str:
    """A shell command that asks a server on this machine."""
    url = f"http://localhost:{port}/v2/models/{model}/infer"
    return f"curl -s {url} -H 'content-type: application/json' -d {shlex.quote(example_request(manifest).decode())}"

"""The paths that are asked all the time."""

import re

from starlette.types import Scope

MODEL = "/v2/models/{model}"
VERSION = "/v2/models/{model}/versions/{version}"
INFER_ROUTES = (f"{MODEL}/infer", f"{VERSION}/infer")
INFER_PATH = re.compile(r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?/infer")
LIVE_PATH, READY_PATH = HEALTH_PATHS = ("/v2/health/live", "/v2/health/ready")


def infer_path(scope: Scope) -> re.Match[str] | None:
    """The parts of the path, if this is a request to infer."""
    infers = scope["type"] == "http" and scope["method"] == "POST"
    return INFER_PATH.fullmatch(scope["path"]) if infers else None

"""Names, ports and paths that the operator writes into a pod and the server finds there."""

import re

GROUP = "models.tidegate.dev"
VERSION = "v1alpha1"
PLURAL = "modeldeployments"
KIND = "ModelDeployment"
REVISION_PLURAL = "modelrevisions"
REVISION_KIND = "ModelRevision"

HTTP_PORT = 8080
"""Open Inference Protocol, in every serving pod."""

METRICS_PORT = 9090
"""Prometheus metrics, in every serving pod and in the operator."""

SERVICE_PORT = 80
"""The port of a model's Service, in every traffic mode."""

BUNDLE_DIR = "/bundle"
"""Where a serving pod finds its bundle, read-only for the server."""

SERVER_CONTAINER = "server"
FETCH_CONTAINER = "fetch"
RESOLVE_CONTAINER = "resolve"

TERMINATION_LOG = "/dev/termination-log"
"""Where a container leaves the `Failure` that ended it; Kubernetes' own default path."""

# Environment of the server container.
ENV_MODEL_NAME = "TIDEGATE_MODEL_NAME"
ENV_REVISION = "TIDEGATE_REVISION"
REVISION_PATTERN = re.compile(r"[0-9a-f]{8}")
"""The whole name of a revision."""
MAX_REVISION_BYTES = 63
"""What a prediction id carries of a revision's name; printable, as UTF-8."""
ENV_POD_UID = "TIDEGATE_POD_UID"
"""Whose counters a server's are; unset: the name of its host."""
ENV_BUNDLE_DIR = "TIDEGATE_BUNDLE_DIR"
ENV_BUNDLE_DIGEST = "TIDEGATE_BUNDLE_DIGEST"
"""`sha256:<64 hex>` of manifest.json; unset: any manifest is taken, its files are still verified."""
ENV_ALLOW_PICKLE = "TIDEGATE_ALLOW_PICKLE"
"""`true` or `false`."""
ENV_DRAIN_SECONDS = "TIDEGATE_DRAIN_SECONDS"
"""Seconds that the server goes on serving after SIGTERM with readiness already failed."""
ENV_TIMEOUT_SECONDS = "TIDEGATE_TIMEOUT_SECONDS"
"""Deadline of one request, in seconds."""
ENV_PAYLOAD_SINK = "TIDEGATE_PAYLOAD_SINK"
"""Where sampled requests and answers are posted to; unset: nowhere. Not written by the operator."""
ENV_PAYLOAD_SAMPLE = "TIDEGATE_PAYLOAD_SAMPLE"
"""Share of requests that are sampled, above 0 and at most 1."""

SECRET_ENV_PREFIX = "TIDEGATE_SECRET_"  # noqa: S105 - a prefix, not a secret
"""The fetcher sees key `k` of `spec.model.secretName` as the variable TIDEGATE_SECRET_k."""

# Headers of requests and answers, in lower case.
GENERATION_HEADER = "tidegate-generation"
"""Of a request: the weight step that the router sent it under, an unsigned integer; absent without a router."""
EVIDENCE_HEADER = "tidegate-evidence"
"""Of a request: there for a randomised first attempt, which alone is evidence about a candidate."""
PREDICTION_ID_HEADER = "tidegate-prediction-id"
"""Of an answer; in its JSON the parameter `prediction_id` says the same."""

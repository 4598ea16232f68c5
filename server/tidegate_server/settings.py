"""What the operator, or a shell, tells the server through its environment; read once, frozen."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tidegate_contract import names
from tidegate_contract.source import DIGEST_PATTERN

DEFAULT_DRAIN_SECONDS = 5.0
DEFAULT_TIMEOUT_SECONDS = 10.0
DEFAULT_PAYLOAD_SAMPLE = 0.01

_TRACES_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_TRACES_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class SettingsError(ValueError):
    """A variable that cannot be meant; the message names it and says what it takes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One server process. An empty model name or revision means the bundle's own."""

    model_name: str = ""
    revision: str = ""
    bundle_dir: Path = Path(names.BUNDLE_DIR)
    digest: str | None = None
    allow_pickle: bool = False
    drain_seconds: float = DEFAULT_DRAIN_SECONDS
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    host: str = "0.0.0.0"  # noqa: S104 - a pod's address is not known beforehand
    http_port: int = names.HTTP_PORT
    metrics_port: int = names.METRICS_PORT
    pod: str = ""
    """Whose counters these are."""
    termination_log: Path = Path(names.TERMINATION_LOG)
    tracing: bool = False
    """Whether the environment names a collector; the rest of it is read by OpenTelemetry's SDK."""
    payload_sink: str = ""
    """URL; empty: no request is sampled."""
    payload_sample: float = DEFAULT_PAYLOAD_SAMPLE


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Settings from the variables of `tidegate_contract.names`, and whether there is a collector of spans; an empty
    variable counts as unset.

    Raises SettingsError.

    >>> read_settings({"TIDEGATE_MODEL_NAME": "flights"}).model_name
    'flights'
    """
    digest = environ.get(names.ENV_BUNDLE_DIGEST) or None
    if digest is not None and not re.match(DIGEST_PATTERN, digest):
        raise SettingsError(f"{names.ENV_BUNDLE_DIGEST} must be sha256: and 64 hex digits, and is {digest!r}")
    revision = environ.get(names.ENV_REVISION, "")
    if len(revision.encode(errors="replace")) > names.MAX_REVISION_BYTES or not revision.isprintable():
        raise SettingsError(f"{names.ENV_REVISION} must be at most {names.MAX_REVISION_BYTES} bytes of printable text")
    return Settings(
        model_name=environ.get(names.ENV_MODEL_NAME, ""),
        revision=revision,
        bundle_dir=Path(environ.get(names.ENV_BUNDLE_DIR) or names.BUNDLE_DIR),
        digest=digest,
        allow_pickle=_boolean(environ, names.ENV_ALLOW_PICKLE),
        pod=environ.get(names.ENV_POD_UID) or environ.get("HOSTNAME", ""),
        drain_seconds=_seconds(environ, names.ENV_DRAIN_SECONDS, DEFAULT_DRAIN_SECONDS, least=0),
        timeout_seconds=_seconds(environ, names.ENV_TIMEOUT_SECONDS, DEFAULT_TIMEOUT_SECONDS, least=0.001),
        tracing=_tracing(environ),
        payload_sink=_sink(environ),
        payload_sample=_share(environ, names.ENV_PAYLOAD_SAMPLE, DEFAULT_PAYLOAD_SAMPLE),
    )


def _tracing(environ: Mapping[str, str]) -> bool:
    """Whether spans are to be sent somewhere, by the standard variables of OpenTelemetry."""
    if not any(_url(environ, name) for name in _TRACES_ENDPOINTS) or environ.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    name = next((name for name in _TRACES_PROTOCOLS if environ.get(name)), "")
    if name and environ[name] != "http/protobuf":
        raise SettingsError(f"{name} must be http/protobuf, the one protocol here, and is {environ[name]!r}")
    return True


def _url(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "")
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if value and not good:  # the value is not repeated: it may hold a password
        raise SettingsError(f"{name} must be an http:// or https:// URL")
    return value


def _sink(environ: Mapping[str, str]) -> str:
    value = _url(environ, names.ENV_PAYLOAD_SINK)
    if "@" in urlsplit(value).netloc:
        raise SettingsError(f"{names.ENV_PAYLOAD_SINK} must have no user: none is sent")
    return value


def _share(environ: Mapping[str, str], name: str, default: float) -> float:
    value = environ.get(name) or str(default)
    try:
        share = float(value)
    except ValueError as error:
        raise SettingsError(f"{name} must be a number, and is {value!r}") from error
    if not 0 < share <= 1:
        raise SettingsError(f"{name} must be above 0 and at most 1, and is {value!r}")
    return share


def _boolean(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name) or "false"
    if value not in ("true", "false"):
        raise SettingsError(f"{name} must be true or false, and is {value!r}")
    return value == "true"


def _seconds(environ: Mapping[str, str], name: str, default: float, *, least: float) -> float:
    value = environ.get(name) or str(default)
    try:
        seconds = float(value)
    except ValueError as error:
        raise SettingsError(f"{name} must be a number of seconds, and is {value!r}") from error
    if not least <= seconds <= 3600:
        raise SettingsError(f"{name} must be {least:g} to 3600 seconds, and is {value!r}")
    return seconds

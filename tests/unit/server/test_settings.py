"""The environment, read once."""

from pathlib import Path

import pytest

from tidegate_server.settings import Settings, SettingsError, read_settings

DIGEST = "sha256:" + "ab" * 32


def test_nothing_set_is_a_working_server() -> None:
    assert read_settings({}) == Settings()


def test_everything_that_can_be_set() -> None:
    environ = {
        "TIDEGATE_MODEL_NAME": "flights",
        "TIDEGATE_REVISION": "abc123",
        "TIDEGATE_BUNDLE_DIR": "/mnt/bundle",
        "TIDEGATE_BUNDLE_DIGEST": DIGEST,
        "TIDEGATE_ALLOW_PICKLE": "true",
        "TIDEGATE_DRAIN_SECONDS": "12.5",
        "TIDEGATE_TIMEOUT_SECONDS": "3",
        "TIDEGATE_PAYLOAD_SINK": "https://sink.example.com:8443/in",
        "TIDEGATE_PAYLOAD_SAMPLE": "0.5",
    }
    assert read_settings(environ) == Settings(
        model_name="flights",
        revision="abc123",
        bundle_dir=Path("/mnt/bundle"),
        digest=DIGEST,
        allow_pickle=True,
        drain_seconds=12.5,
        timeout_seconds=3.0,
        payload_sink="https://sink.example.com:8443/in",
        payload_sample=0.5,
    )


def test_an_empty_variable_is_an_unset_one() -> None:
    names = ["MODEL_NAME", "BUNDLE_DIR", "BUNDLE_DIGEST", "ALLOW_PICKLE", "DRAIN_SECONDS", "TIMEOUT_SECONDS"]
    names += ["PAYLOAD_SINK", "PAYLOAD_SAMPLE"]
    assert read_settings({f"TIDEGATE_{name}": "" for name in names}) == Settings()
    assert read_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}) == Settings()


@pytest.mark.parametrize(
    ("environ", "tracing"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:word@collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://collector/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "https://collector/v1/metrics"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            True,
        ),
    ],
)
def test_spans_are_sent_where_the_standard_variables_name_a_collector(environ: dict[str, str], tracing: bool) -> None:
    assert read_settings(environ) == Settings(tracing=tracing)


def test_a_protocol_of_spans_that_is_not_spoken_is_named() -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf"):
        read_settings(environ)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TIDEGATE_BUNDLE_DIGEST", "sha256:abc"),
        ("TIDEGATE_ALLOW_PICKLE", "yes"),
        ("TIDEGATE_DRAIN_SECONDS", "five"),
        ("TIDEGATE_DRAIN_SECONDS", "-1"),
        ("TIDEGATE_TIMEOUT_SECONDS", "0"),
        ("TIDEGATE_TIMEOUT_SECONDS", "nan"),
        ("TIDEGATE_TIMEOUT_SECONDS", "inf"),
        ("TIDEGATE_REVISION", "r" * 64),
        ("TIDEGATE_REVISION", "a\nb"),
        ("TIDEGATE_PAYLOAD_SINK", "sink.example.com/in"),
        ("TIDEGATE_PAYLOAD_SINK", "ftp://sink"),
        ("TIDEGATE_PAYLOAD_SINK", "http://sink:port"),
        ("TIDEGATE_PAYLOAD_SINK", "http://"),
        ("TIDEGATE_PAYLOAD_SINK", "http://user:word@sink"),
        ("TIDEGATE_PAYLOAD_SAMPLE", "some"),
        ("TIDEGATE_PAYLOAD_SAMPLE", "0"),
        ("TIDEGATE_PAYLOAD_SAMPLE", "1.01"),
        ("TIDEGATE_PAYLOAD_SAMPLE", "nan"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:0x"),
    ],
)
def test_what_cannot_be_meant_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read_settings({name: value})

"""One line of JSON per event, and nothing in it that a client sent."""

import json
import logging
import sys

from tidegate_contract.logs import JsonLines, OncePerMinute


def test_a_line_carries_what_was_added() -> None:
    record = logging.makeLogRecord(
        {"name": "x", "levelname": "INFO", "msg": "two\n%s", "args": ("lines",), "port": 8080}
    )
    line = JsonLines().format(record)
    assert "\n" not in line
    document = json.loads(line)
    assert document.pop("time").endswith("+00:00")
    assert document == {"level": "info", "logger": "x", "message": "two\nlines", "port": 8080}


def test_of_an_exception_the_place_is_written_and_not_the_text() -> None:
    try:
        raise ValueError("the client's secret")
    except ValueError:
        record = logging.makeLogRecord(
            {"name": "x", "levelname": "ERROR", "msg": "it failed", "exc_info": sys.exc_info()}
        )
    line = JsonLines().format(record)
    assert json.loads(line)["exception"] == "ValueError"
    assert "test_logs.py" in json.loads(line)["at"][-1]
    assert "secret" not in line


def test_of_a_logger_that_repeats_itself_a_line_a_minute_is_written() -> None:
    once = OncePerMinute("exporter")

    def passes(name: str, second: float) -> bool:
        return once.filter(logging.makeLogRecord({"name": name, "created": 1.8e9 + second})) is True

    assert [passes("exporter.a", second) for second in (0, 1, 59.9, 60, 61)] == [True, False, False, True, False]
    assert passes("exporter.b", 1)
    assert passes("other", 1)
    assert passes("other", 1)

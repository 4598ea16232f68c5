"""One line of JSON per event, on stderr."""

import datetime as dt
import logging
import sys
from pathlib import PurePath
from types import TracebackType

import msgspec

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """`time`, `level`, `logger`, `message`, what `extra=` carried, and where an exception came from.

    Of an exception only the type and the lines of code are written: the text of a model's
    exception often repeats what the client sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({key: value for key, value in vars(record).items() if key not in _OWN})
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__qualname__
            line["at"] = _places(record.exc_info[2])
        return msgspec.json.encode(line, enc_hook=str).decode()


class OncePerMinute(logging.Filter):
    """Lets one line a minute pass of each logger at `name` or below it, and all of the others."""

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not super().filter(record):
            return True
        if 0 <= record.created - self._last.get(record.name, 0.0) < 60:
            return False
        self._last[record.name] = record.created
        return True


def _places(traceback: TracebackType | None) -> list[str]:
    places: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        places.append(f"{'/'.join(PurePath(code.co_filename).parts[-2:])}:{traceback.tb_lineno} {code.co_qualname}")
        traceback = traceback.tb_next
    return places[-12:]


def configure(level: int = logging.INFO) -> None:
    """Send every logger of the process through JsonLines to stderr; uvicorn only speaks up when something is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.getLogger("uvicorn.error").setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)

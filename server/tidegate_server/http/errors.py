"""What a client is told when something is not 200: a status and one sentence, as the protocol has it."""

import logging

import msgspec

from tidegate_server.outputs import InvalidOutputError

KINDS = {
    400: "bad_request",
    404: "unknown",
    408: "slow_body",
    413: "too_large",
    500: "bug",
    503: "not_ready",
    504: "deadline",
}
"""The class of an error that says none of its own, by status."""

_logger = logging.getLogger(__name__)


class ClientGoneError(Exception):
    """Nobody waits for the answer any more. Starlette has one too, behind imports that a start has no time for."""


class OipError(Exception):
    """An answer that is not 200.

    status       400 malformed, 404 no such model or version, 408 the body did not come, 413 too large or too many rows,
                 500 the model raised, 503 not ready or queue full, 504 deadline
    message      one sentence, without any value that the client sent
    retry_after  seconds, with 503
    kind         class of the error, for the counters
    column       the input of the signature that is wrong, if it is one
    """

    def __init__(
        self, status: int, message: str, retry_after: int | None = None, *, kind: str = "", column: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after
        self.kind = kind or KINDS[status]
        self.column = column


class ModelRaisedError(Exception):
    """The model raised `why`."""

    def __init__(self, why: BaseException) -> None:
        super().__init__()
        self.why = why


def a_bug(error: BaseException) -> OipError:
    """What a client is told of an exception that nobody foresaw."""
    return OipError(500, f"the server has a bug: {type(error).__name__}")


def the_model_raised(error: BaseException) -> OipError:
    """What a client is told of an exception of the model's own; what it says of the values goes to the log alone."""
    _logger.warning("the model raised", exc_info=error)
    return OipError(500, f"the model raised {type(error).__name__}", kind="model_raised")


def invalid_output(error: InvalidOutputError) -> OipError:
    """What a client is told of an answer that the model should not have given."""
    return OipError(500, str(error), kind="invalid_output")


def encode_error(message: str) -> bytes:
    """The body of every answer that is not 200.

    >>> encode_error("the model is loading")
    b'{"error":"the model is loading"}'
    """
    return msgspec.json.encode({"error": message})

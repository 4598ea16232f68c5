"""What a client is told when something is not 200: a status and one sentence, as the protocol has it."""

import msgspec


class OipError(Exception):
    """An answer that is not 200.

    status       400 malformed, 404 no such model or version, 408 the body did not come, 413 too large or too many rows,
                 500 the model raised, 503 not ready or queue full, 504 deadline
    message      one sentence, without any value that the client sent
    retry_after  seconds, with 503
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after


def encode_error(message: str) -> bytes:
    """The body of every answer that is not 200.

    >>> encode_error("the model is loading")
    b'{"error":"the model is loading"}'
    """
    return msgspec.json.encode({"error": message})

"""How each server of the peers' bench is asked for the same rows, and whether its answers are the model's."""

import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.fitted import COLUMNS
from bench.load import exchange, post
from cluster.shell import tail_of

Rows = np.ndarray


@dataclass(frozen=True)
class Dialect:
    """How rows are said in JSON, and how the answer to them is read."""

    encode: Callable[[Rows], object]
    decode: Callable[[Any], list[int]]


def columns_of(rows: Rows) -> object:
    tensors = [
        {"name": name, "shape": [len(rows)], "datatype": "FP64", "data": rows[:, place].tolist()}
        for place, name in enumerate(COLUMNS)
    ]
    return {"inputs": tensors, "outputs": [{"name": "predict"}]}


def tensor_of(rows: Rows) -> object:
    tensor = {"name": "rows", "shape": list(rows.shape), "datatype": "FP64", "data": rows.reshape(-1).tolist()}
    return {"inputs": [tensor]}


def rows_of(rows: Rows) -> object:
    return {"rows": rows.tolist()}


def first_output(answer: Any) -> list[int]:
    found: list[int] = answer["outputs"][0]["data"]
    return found


COLUMN_WISE = Dialect(columns_of, first_output)
ONE_TENSOR = Dialect(tensor_of, first_output)
PLAIN_LIST = Dialect(rows_of, list)
PLAIN_OBJECT = Dialect(rows_of, lambda answer: list(answer["predict"]))


@dataclass(frozen=True)
class Target:
    """A model of a server."""

    label: str
    model: str
    port: int
    path: str
    dialect: Dialect
    log: Path
    """What its server says."""

    def request(self, rows: Rows) -> bytes:
        return post(self.path, json.dumps(self.dialect.encode(rows)).encode())

    def answer(self, connection: socket.socket, rows: Rows) -> Rows:
        """Raises WrongError for anything but 200."""
        head, body = exchange(connection, self.request(rows))
        if not head.startswith(b"HTTP/1.1 200"):
            raise WrongError(f"{self.label}, {self.model}: {head.splitlines()[0]!r} {body[:300]!r}")
        return np.array(self.dialect.decode(json.loads(body)))


class WrongError(Exception):
    """A server answers, and not as the model does."""


def row() -> Rows:
    """The one that servers are asked for under load."""
    return np.array([[0.25 * place - 1 for place in range(len(COLUMNS))]])


def many(count: int) -> Rows:
    return np.random.default_rng(2).normal(size=(count, len(COLUMNS))).round(4)


def verify(target: Target, model: Any) -> None:
    """The answers to one row, to rows asked one by one and at the same time, and to a table of them are the model's.

    Raises WrongError.
    """
    rows = many(64)
    expected = model.predict(rows)

    def alone(place: int) -> int:
        with connect(target.port) as connection:
            return int(target.answer(connection, rows[place : place + 1])[0])

    with connect(target.port) as connection:
        found = {"a table": target.answer(connection, rows), "one row": target.answer(connection, row())}
    with ThreadPoolExecutor(16) as threads:
        found["at the same time"] = np.array(list(threads.map(alone, range(len(rows)))))
    for what, answer in found.items():
        right = model.predict(row()) if what == "one row" else expected
        if not np.array_equal(answer, right):
            raise WrongError(f"{target.label}, {target.model}, {what}: not the answers of the model")


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def await_answer(target: Target) -> None:
    deadline = time.monotonic() + 180
    while True:
        try:
            with connect(target.port) as connection:
                target.answer(connection, row())
        except (OSError, WrongError) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{target.label}, {target.model}: no answer.\n{tail_of(target.log)}") from error
            time.sleep(0.3)
        else:
            return

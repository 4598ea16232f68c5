"""Ask a served model about real flights of March 2013 and print its answers beside what happened.

Speaks the Open Inference Protocol v2 with the standard library alone: the columns and their types
are read from the model's own metadata, so the request is built from what the server says it wants.
"""

import argparse
import http.client
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import flights_data as data
import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, roc_auc_score

MODEL = "flights"
CHUNK_ROWS = 1000


class RefusedError(RuntimeError):
    """The server answered, and not with 200."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"HTTP {status}: {body[:500]}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, whatever it says."""

    status: int
    revision: str
    """The version of the model that answered; empty where none did."""
    text: str


class Client:
    """One kept-open connection to a model server, or to something that leads to one.

    Raises OSError or HTTPException where there is no answer; `get` and `post` also RefusedError where it is not 200.
    """

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        split = urlsplit(url)
        if split.scheme not in ("http", "https") or not split.hostname:
            raise ValueError("the address must be http://HOST[:PORT][/PATH] or https://...")
        kind = http.client.HTTPSConnection if split.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(split.hostname, split.port, timeout=timeout)
        self._path = split.path.rstrip("/")

    def get(self, path: str) -> dict[str, Any]:
        return self._call("GET", path, None)

    def post(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        return self._call("POST", path, json.dumps(document).encode())

    def close(self) -> None:
        self._connection.close()

    def send(self, method: str, path: str, body: bytes | None) -> Reply:
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            self._connection.request(method, self._path + path, body, headers)
            response = self._connection.getresponse()
            text = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException):
            self._connection.close()  # the next call opens a new one
            raise
        return Reply(response.status, response.getheader("tidegate-revision", ""), text)

    def _call(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        reply = self.send(method, path, body)
        if reply.status != 200:
            raise RefusedError(reply.status, reply.text)
        answer: dict[str, Any] = json.loads(reply.text)
        return answer


def request(signature: Sequence[dict[str, Any]], rows: pd.DataFrame) -> dict[str, Any]:
    """One infer request: a named column of the datatype that the signature asks for, per input.

    `signature` is `inputs` of `GET /v2/models/{name}`; a -1 in a shape stands for the number of rows.
    A missing value is sent as null.
    """
    return {"inputs": [_column(column, rows) for column in signature]}


def _column(column: dict[str, Any], rows: pd.DataFrame) -> dict[str, Any]:
    values = rows[column["name"]].tolist()
    convert = {"BYTES": str, "BOOL": bool}.get(column["datatype"], int if "INT" in column["datatype"] else float)
    filled = [None if isinstance(value, float) and math.isnan(value) else convert(value) for value in values]
    shape = [len(rows) if size == -1 else size for size in column["shape"]]
    return {"name": column["name"], "datatype": column["datatype"], "shape": shape, "data": filled}


def probabilities(answer: dict[str, Any]) -> list[float]:
    """P(late) of each row: the last column of the answer's floating-point output."""
    for output in answer["outputs"]:
        if output["datatype"] in ("FP64", "FP32"):
            values = np.asarray(output["data"], dtype=float).reshape(output["shape"])
            late: list[float] = values.reshape(len(values), -1)[:, -1].tolist()
            return late
    raise ValueError("the answer holds no floating-point output; was the model packed with its probabilities?")


def ask(client: Client, rows: pd.DataFrame, model: str = MODEL) -> list[float]:
    """P(late) of each row, by one infer request."""
    signature = client.get(f"/v2/models/{model}")["inputs"]
    return probabilities(client.post(f"/v2/models/{model}/infer", request(signature, rows)))


def spread(flights: pd.DataFrame, count: int) -> pd.DataFrame:
    """`count` flights at equal distances over the table: the same ones each time, late ones in their true share."""
    positions = np.linspace(0, len(flights) - 1, num=min(count, len(flights)), dtype=int)
    return flights.iloc[positions].reset_index(drop=True)


def chunks(flights: pd.DataFrame, size: int = CHUNK_ROWS) -> Iterator[pd.DataFrame]:
    """The flights in parts of at most `size` rows, in order."""
    for start in range(0, len(flights), size):
        yield flights.iloc[start : start + size]


@dataclass(frozen=True, slots=True)
class Line:
    """One flight, what the model said at departure, and what happened."""

    flight: str
    date: str
    route: str
    delay: int
    """Minutes of delay at departure; negative is early."""
    p_late: float
    arrival: int
    """Minutes of delay on arrival."""

    @property
    def predicted_late(self) -> bool:
        return self.p_late > 0.5

    @property
    def was_late(self) -> bool:
        return self.arrival > data.LATE_MINUTES

    @property
    def hit(self) -> bool:
        return self.predicted_late == self.was_late


def lines(flights: pd.DataFrame, late: Sequence[float]) -> list[Line]:
    """A line per flight, in the order of the table."""
    return [
        Line(
            flight=f"{row['carrier']} {row['flight']}",
            date=f"{row['year']}-{row['month']:02}-{row['day']:02} {row['hour']:02}:{row['minute']:02}",
            route=f"{row['origin']}-{row['dest']}",
            delay=int(row["dep_delay"]),
            p_late=p_late,
            arrival=int(row["arr_delay"]),
        )
        for row, p_late in zip(flights.to_dict("records"), late, strict=True)
    ]


def table(rows: Sequence[Line]) -> str:
    """The lines as text, one flight each.

    >>> print(table([Line("UA 1545", "2013-03-01 05:15", "EWR-IAH", 62, 0.97, 48)]))
    flight   to leave at       route    left      P(late)  predicted  actual            hit
    UA 1545  2013-03-01 05:15  EWR-IAH  +62 min      0.97  late       late (+48 min)    hit
    """
    head = f"{'flight':8} {'to leave at':17} {'route':8} {'left':>4}      P(late)  predicted  {'actual':17} hit"
    body = [
        f"{row.flight:8} {row.date:17} {row.route:8} {f'{row.delay:+} min':8} {row.p_late:8.2f}  "
        f"{_word(row.predicted_late):10} {f'{_word(row.was_late)} ({row.arrival:+} min)':17} "
        f"{'hit' if row.hit else 'MISS'}"
        for row in rows
    ]
    return "\n".join([head, *body])


def _word(late: bool) -> str:
    return "late" if late else "on time"


def main() -> None:
    parser = argparse.ArgumentParser(description="Predict real flights of March 2013 with a served model.")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="where the model answers")
    parser.add_argument("--model", default=MODEL, help="its name there")
    parser.add_argument("--count", type=int, default=20, help="flights in the table")
    options = parser.parse_args()

    client = Client(options.url)
    march = data.read(3)
    try:
        shown = spread(march, options.count)
        rows = lines(shown, ask(client, shown, options.model))
        print(table(rows))
        print(f"\n{sum(row.hit for row in rows)} of {len(rows)} right.")

        started = time.perf_counter()
        late = [p for part in chunks(march) for p in ask(client, part, options.model)]
        seconds = time.perf_counter() - started
    except (RefusedError, OSError, http.client.HTTPException) as error:
        sys.exit(f"no answer from {options.url}: {error}")
    finally:
        client.close()
    truth = march[data.TARGET]
    accuracy = accuracy_score(truth, np.asarray(late) > 0.5)
    print(
        f"All {len(march):,} flights of March that landed, in {seconds:.1f} s: accuracy {accuracy:.1%}, "
        f"AUC {roc_auc_score(truth, late):.3f}.\n"
        f'("On time" for every one of them would be right for {1 - truth.mean():.1%}.)'
    )


if __name__ == "__main__":
    main()

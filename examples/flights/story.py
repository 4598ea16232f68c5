"""The second part of the demo: a better model takes over as its requests allow, and a broken one is rejected by them.

Clients send real flights of March all the while, one a request; some are still at the gate.
"""

import contextlib
import re
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import clients
import flights_data as data
import predict
import yaml
from clients import Seen
from steps import NAME, DemoError, Place, pack, push, run, step, tidegate

HERE: Final = Path(__file__).resolve().parent
DAYS_OF_MARCH: Final = 15
BETTER_TAG, CARELESS_TAG = "2013-03", "2013-03-careless"
TIMEOUT: Final = "4m"
PROMOTED, REJECTED = 0, 2
"""Exit codes of `tidegate wait`."""

ROLLOUT: Final[dict[str, Any]] = {"strategy": "Auto", "bake": {"duration": "0s"}}
"""How the next versions take over: as their requests allow, and the version before goes when that is over."""


def asked(first: str, uri: str, digest: str, token: str, *, runs_code: bool) -> str:
    """The model's YAML with another version, which takes over by `ROLLOUT`.

    `token` is new in each run of the demo, so that what an earlier one has rejected is tried again.
    """
    document: dict[str, Any] = yaml.safe_load(first)
    model = {"uri": uri, "digest": digest} | ({"allowPickle": True} if runs_code else {})
    document["spec"] |= {"model": model, "rollout": ROLLOUT | {"retryToken": token}}
    return yaml.safe_dump(document, sort_keys=False)


def rejected(printed: str) -> str:
    """The revision that `tidegate wait` says is rejected."""
    found = re.search(r": ([0-9a-f]+) is rejected: ", printed)
    if found is None:
        raise DemoError("tidegate wait does not say which revision is rejected")
    return found[1]


def tell(place: Place, first: str, bundle: Path, url: str) -> str:
    """Both rollouts, beginning with what `first` asked for; the digest of what serves in the end. Raises DemoError."""
    token = f"demo-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    with contextlib.closing(predict.Client(url)) as client:
        signature = client.get(f"/v2/models/{NAME}")["inputs"]
    requests = clients.bodies(signature, clients.asked(data.read(3)))

    uri, digest = better(place, bundle)
    good = place.work / "better.yaml"
    good.write_text(asked(first, uri, digest, token, runs_code=False))
    with step("roll it out, as fast as its own requests allow"):
        _, seen = rollout(place, good, url, requests, PROMOTED)

    uri, digest_of_careless = careless(place)
    bad = place.work / "careless.yaml"
    bad.write_text(asked(first, uri, digest_of_careless, token, runs_code=True))
    with step("roll that out, too: its requests reject it"):
        printed, more = rollout(place, bad, url, requests, REJECTED)

    with step("why, and what it cost"):
        revision = rejected(printed)
        run(tidegate(), "history", NAME, "-n", place.namespace, "--revision", revision)
        run(tidegate(), "replay", NAME, "-n", place.namespace)
        print(f"    clients in all: {clients.told(seen + more)}")
        print(f"    The failed ones are the price: {revision} answered 500 to flights without a delay.")
    with step("ask for what serves again, as a revert in Git would"):
        run("kubectl", "apply", "-f", good)
    return digest


def better(place: Place, bundle: Path) -> tuple[str, str]:
    """The next model, which has seen half of March: where it is, and its digest."""
    work = place.work / "next"
    with step(f"train the next model, on {DAYS_OF_MARCH} days of March too"):
        run(sys.executable, HERE / "train.py", "--output", work, "--march", str(DAYS_OF_MARCH))
    with step("pack it, and compare it with the one that serves"):
        pack(work / "model.skops", work / "train.parquet", work / "bundle")
        rows = work / "held-out.parquet"
        run(tidegate(), "compare", bundle, work / "bundle", "--data", rows, "--target", data.TARGET)
    with step("push it"):
        return push(place, work / "bundle", BETTER_TAG)


def careless(place: Place) -> tuple[str, str]:
    """The same model with a rule that has a bug, which no row of its training data shows."""
    work, trained = place.work / "careless", place.work / "next"
    with step("a rule is added, by somebody who did not think of flights that are still at the gate"):
        shutil.copytree(
            HERE / "with_rule", work / "model", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
        )
        shutil.copy(HERE / "careless_rules.py", work / "model" / "rules.py")
        shutil.copy(trained / "model.skops", work / "model")
        pack(work / "model", trained / "train.parquet", work / "bundle")
        return push(place, work / "bundle", CARELESS_TAG)


def rollout(place: Place, file: Path, url: str, requests: Sequence[bytes], expected: int) -> tuple[str, Seen]:
    """Apply another version and wait until it is decided, while clients send: what `wait` printed, what they saw."""
    with clients.sending(url, requests) as load:
        run("kubectl", "apply", "-f", file)
        wait = [tidegate(), "wait", NAME, "-n", place.namespace, "--timeout", TIMEOUT]
        printed = run(*wait, expected=expected, with_stderr=True)
    return printed, load.seen()

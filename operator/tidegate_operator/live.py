"""What a rollout counts, as it counts it: numbers that tick, and so are asked for and never written to the API server.

    GET /live/{namespace}/{name}

Only the process that leads counts. Another one asks it, and hands on what it says.
"""

from collections.abc import Callable
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from tidegate_cluster.store import Key
from tidegate_contract.route import Slot
from tidegate_operator.core.types import Evidence, Router

PATH = "/live/{namespace}/{name}"
FORWARDED = "Tidegate-Forwarded"
"""A header of what another process hands on: it is not handed on again."""
FORWARD_SECONDS = 2.0
LEADERLESS = "no process leads at the moment: ask again in a few seconds"


class Live:
    """Answers for the process that leads, whichever that is."""

    def __init__(
        self,
        known: Callable[[Key], bool],
        leads: Callable[[], bool],
        elsewhere: Callable[[], str],
        evidence: Callable[[Key], Evidence | None],
        heard: Callable[[Key], dict[str, Router | None]],
        now: Callable[[], str],
    ) -> None:
        """`known`: whether there is such a model. `elsewhere`: where the process that leads is asked, host and port.
        `heard`: what each router says of a model. `now`: the time, as it is written."""
        self._known = known
        self._leads = leads
        self._elsewhere = elsewhere
        self._evidence = evidence
        self._heard = heard
        self._now = now

    async def answer(self, request: web.Request) -> web.Response:
        """200 with what is counted, 404 for a model that is not known, 503 where nobody leads; each as JSON."""
        key = request.match_info["namespace"], request.match_info["name"]
        if not self._leads():
            address = self._elsewhere()
            if not address or FORWARDED in request.headers:
                return _said(503, LEADERLESS)
            return await _handed_on(f"http://{address}{request.rel_url.raw_path}")
        if not self._known(key):
            return _said(404, f"no ModelDeployment {'/'.join(key)} is known here")
        return _json(200, self._counted(key))

    def _counted(self, key: Key) -> dict[str, Any]:
        heard = self._heard(key)
        told = [router for router in heard.values() if router]
        evidence = self._evidence(key)
        return {
            "asOf": self._now(),
            "routers": {"known": len(heard), "silent": len(heard) - len(told)},
            "pods": {slot: min(router.pods.get(slot, 0) for router in told) for slot in Slot} if told else {},
            "trial": msgspec.to_builtins(evidence) if evidence else None,
        }


async def _handed_on(url: str) -> web.Response:
    timeout = aiohttp.ClientTimeout(total=FORWARD_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as own,
            own.get(url, headers={FORWARDED: "1"}, allow_redirects=False) as answer,
        ):
            body = await answer.read()
            return web.Response(status=answer.status, body=body, content_type="application/json")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return _said(
            503, f"the process that leads does not answer ({type(error).__name__}): ask again in a few seconds"
        )


def _said(status: int, error: str) -> web.Response:
    return _json(status, {"error": error})


def _json(status: int, content: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(content), content_type="application/json")

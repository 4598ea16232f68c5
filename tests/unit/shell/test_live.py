"""What a rollout counts, asked of whichever process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from answering import answering
from tidegate_cluster.store import Key
from tidegate_contract.route import Slot
from tidegate_operator.core.types import Count, Counted, Evidence, Limits, Numbers, Router
from tidegate_operator.live import FORWARDED, LEADERLESS, PATH, Live

COUNTED = Numbers("b", "a", 1, 5, Counted(Count(9, 1), Count(171, 1)), Counted(), Limits(5.3, 3.0), 2, ("line",))
TRIED = Evidence("b", 1, requests=9, summary="1 of 9", needed=480, numbers=COUNTED)
ROUTERS = {
    "one": Router(3, {Slot.A: 2, Slot.B: 1}),
    "two": Router(3, {Slot.A: 1, Slot.B: 1}),
    "silent": None,
}


@asynccontextmanager
async def process(*, leads: bool, elsewhere: str = "") -> AsyncIterator[str]:
    """One that knows the model `flights`; its host and port."""

    def evidence(_: Key) -> Evidence | None:
        assert leads, "only who leads counts"
        return TRIED

    live = Live(
        lambda key: key == ("shop", "flights"),
        lambda: leads,
        lambda: elsewhere,
        evidence,
        lambda _: ROUTERS,
        lambda: "2026-01-02T03:04:05Z",
    )
    app = web.Application()
    app.add_routes([web.get(PATH, live.answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def asked(address: str, path: str = "/live/shop/flights", **headers: str) -> tuple[int, dict[str, object]]:
    async with aiohttp.ClientSession() as own, own.get(f"http://{address}{path}", headers=headers) as answer:
        return answer.status, await answer.json()


def test_who_leads_says_what_is_counted_and_a_standby_hands_it_on() -> None:
    async def run() -> None:
        async with process(leads=True) as leader, process(leads=False, elsewhere=leader) as standby:
            status, told = await asked(leader)
            assert status == 200
            assert told["routers"] == {"known": 3, "silent": 1}
            assert told["pods"] == {"a": 1, "b": 1, "shadow": 0}, "the fewest that any router knows"
            trial = told["trial"]
            assert isinstance(trial, dict)
            assert (trial["revision"], trial["needed"]) == ("b", 480)
            assert trial["numbers"]["errors"]["tried"] == {"requests": 9, "events": 1}
            assert await asked(standby) == (200, told)

    asyncio.run(run())


def test_a_model_that_is_not_known_is_said_to_be_so_by_both() -> None:
    async def run() -> None:
        async with process(leads=True) as leader, process(leads=False, elsewhere=leader) as standby:
            for address in (leader, standby):
                status, told = await asked(address, "/live/shop/ghost")
                assert status == 404
                assert "shop/ghost" in str(told["error"])

    asyncio.run(run())


@pytest.mark.parametrize("headers", [{}, {FORWARDED: "1"}])
def test_where_nobody_leads_nothing_goes_round_in_a_circle(headers: dict[str, str]) -> None:
    async def run() -> None:
        async with process(leads=False) as other, process(leads=False, elsewhere=other) as standby:
            assert await asked(standby, **headers) == (503, {"error": LEADERLESS})
            assert await asked(other, **headers) == (503, {"error": LEADERLESS})

    asyncio.run(run())


def test_an_answer_in_parts_is_handed_on_whole() -> None:
    async def in_parts(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for part in (b'{"trial"', b": null}"):
            await answer.write(part)
            await asyncio.sleep(0.05)
        return answer

    async def run() -> None:
        async with answering(in_parts) as leader, process(leads=False, elsewhere=leader.removeprefix("http://")) as one:
            assert await asked(one) == (200, {"trial": None})

    asyncio.run(run())


def test_a_leader_that_is_gone_is_no_error_of_ours() -> None:
    async def run() -> None:
        async with process(leads=False, elsewhere="127.0.0.1:1") as standby:
            status, told = await asked(standby)
            assert (status, "does not answer" in str(told["error"])) == (503, True)

    asyncio.run(run())

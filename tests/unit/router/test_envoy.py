"""What the agent asks of Envoy's admin interface, where it matters in which order."""

import asyncio
from pathlib import Path, PurePosixPath

from aiohttp import web

from tidegate_router.envoy import EPOCH, Envoy


class Admin:
    """An Envoy that takes its time."""

    def __init__(self) -> None:
        self.names: list[str] = []
        """Those that it was given."""

    async def runtime(self, request: web.Request) -> web.Response:
        entries = {EPOCH: {"final_value": self.names[-1]}} if self.names else {}
        await asyncio.sleep(0.01)
        return web.json_response({"entries": entries})

    async def modify(self, request: web.Request) -> web.Response:
        self.names.append(request.query[EPOCH])
        return web.Response()


async def test_of_several_who_ask_at_once_one_names_a_life_of_envoy(tmp_path: Path) -> None:
    admin, app = Admin(), web.Application()
    app.add_routes([web.get("/runtime", admin.runtime), web.post("/runtime_modify", admin.modify)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "admin.sock")).start()
    envoy = Envoy(PurePosixPath(tmp_path), "admin.sock")
    try:
        told = await asyncio.gather(*(envoy.epoch() for _ in range(5)))
    finally:
        await envoy.close()
        await runner.cleanup()
    assert [set(told), len(admin.names)] == [set(admin.names), 1]

"""Envoy's own admin interface: what it has counted, and that it is to drain."""

import asyncio
import secrets
from pathlib import PurePosixPath

import aiohttp
import msgspec


class _Stat(msgspec.Struct):
    name: str = ""
    value: int | str = 0


class _Stats(msgspec.Struct):
    stats: list[_Stat]


class _ServerInfo(msgspec.Struct):
    state: str = ""


class _Entry(msgspec.Struct):
    final_value: str


class _Runtime(msgspec.Struct):
    entries: dict[str, _Entry] = {}


EPOCH = "tidegate.epoch"
"""Of Envoy's runtime values: it ends with the process."""
_STATS = msgspec.json.Decoder(_Stats)
UNREACHABLE = (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError)
"""It is not up, or not able to answer."""


class Envoy:
    """The one in this pod."""

    def __init__(self, folder: PurePosixPath, socket: str) -> None:
        """Must be made inside the event loop."""
        connector = aiohttp.UnixConnector(path=str(folder / socket))
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=2))
        self._naming = asyncio.Lock()

    async def close(self) -> None:
        await self._session.close()

    async def counts(self, pattern: str) -> dict[str, int]:
        """Counters and gauges whose names match a regular expression, by name. Raises UNREACHABLE."""
        found = _STATS.decode(await self._get(f"/stats?format=json&usedonly&filter={pattern}"))
        return {stat.name: stat.value for stat in found.stats if isinstance(stat.value, int)}

    async def live(self) -> bool:
        """Whether it serves. Raises UNREACHABLE."""
        return msgspec.json.decode(await self._get("/server_info"), type=_ServerInfo).state == "LIVE"

    async def epoch(self) -> str:
        """The name of its life: given by the first agent who asks, and kept by Envoy. Raises UNREACHABLE.

        Of several who ask at once one gives it: with a second name all counts would be counted twice.
        """
        async with self._naming:
            while True:
                found = msgspec.json.decode(await self._get("/runtime?format=json"), type=_Runtime).entries.get(EPOCH)
                if found is not None:
                    return found.final_value
                await self._post(f"/runtime_modify?{EPOCH}={secrets.token_hex(8)}")

    async def drain(self) -> None:
        """Ask every client to come by a new connection from now on; what is connected is still answered.

        Raises UNREACHABLE.
        """
        await self._post("/healthcheck/fail")

    async def _get(self, path: str) -> bytes:
        async with self._session.get(f"http://envoy{path}", raise_for_status=True) as answer:
            return await answer.read()

    async def _post(self, path: str) -> None:
        async with self._session.post(f"http://envoy{path}", raise_for_status=True):
            pass

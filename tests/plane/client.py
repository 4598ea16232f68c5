"""The administrator's way to the API server: plain objects in and out, lists in pages, watches as lines."""

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from plane import certs

Object = dict[str, Any]

MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
PAGE = 500


class Refused(Exception):  # noqa: N818 - what the API server did
    """Any answer that is no success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


def tls(pki: Path, user: str) -> ssl.SSLContext:
    """A context that knows the plane's authority and shows the user's certificate."""
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(*certs.pair(pki, user))
    return context


class Client:
    """Must be made inside the event loop, and closed."""

    def __init__(self, server: str, context: ssl.SSLContext) -> None:
        self._server = server
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=32, ssl=context),
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=60, sock_connect=5),
        )

    async def close(self) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, body: Object | None = None, content: str = "application/json") -> Any:
        """The decoded answer.

        Raises Refused, aiohttp.ClientError, TimeoutError.
        """
        data = None if body is None else json.dumps(body).encode()
        async with self._session.request(
            method, f"{self._server}{path}", data=data, headers={"Content-Type": content}
        ) as response:
            answer = await response.read()
            if response.status >= 300:
                raise Refused(response.status, answer[:500].decode(errors="replace"))
            return json.loads(answer)

    async def get(self, path: str) -> Object:
        found: Object = await self.call("GET", path)
        return found

    async def find(self, path: str) -> Object | None:
        try:
            return await self.get(path)
        except Refused as error:
            if error.status == 404:
                return None
            raise

    async def create(self, path: str, body: Object) -> Object:
        made: Object = await self.call("POST", path, body)
        return made

    async def merge(self, path: str, body: Object) -> Object:
        made: Object = await self.call("PATCH", path, body, MERGE)
        return made

    async def delete(self, path: str) -> None:
        await self.call("DELETE", path)

    async def items(self, path: str, selector: str = "") -> list[Object]:
        """A whole collection."""
        found: list[Object] = []
        parameters = f"?limit={PAGE}" + (f"&labelSelector={selector}" if selector else "")
        follow = ""
        while True:
            page = await self.get(f"{path}{parameters}{follow}")
            found += page["items"]
            if not (token := page["metadata"].get("continue")):
                return found
            follow = f"&continue={token}"

    async def is_ready(self) -> bool:
        try:
            async with self._session.get(f"{self._server}/readyz", timeout=aiohttp.ClientTimeout(total=2)) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    @asynccontextmanager
    async def watch(self, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of a watch that begins now; open when the context is entered."""
        version = (await self.get(f"{path}?limit=1"))["metadata"]["resourceVersion"]
        url = f"{self._server}{path}?watch=1&resourceVersion={version}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with self._session.get(url, timeout=timeout) as response:
            if response.status != 200:
                raise Refused(response.status, await response.text())
            yield lines(response.content)


async def lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length."""
    rest = b""
    async for chunk in stream.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line

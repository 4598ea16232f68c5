"""`python -m tidegate_router`: the agent beside one Envoy, until SIGTERM.

Exit codes: 0 told to stop, 2 the environment is wrong.
"""

import asyncio
import logging
import os
import signal
import sys
import time

import aiohttp
from aiohttp import web

from tidegate_cluster.api import Api
from tidegate_cluster.connection import Connection, connect
from tidegate_contract.logs import configure
from tidegate_contract.router import ADMIN_SOCKET, AGENT_PORT, END_SOCKET, HOLD_SOCKET, XDS_SOCKET
from tidegate_router.agent import Agent
from tidegate_router.envoy import Envoy
from tidegate_router.serve import Answers
from tidegate_router.settings import Settings, SettingsError, read_settings
from tidegate_router.watch import Watch
from tidegate_router.xds import Xds

_logger = logging.getLogger("tidegate_router")


def main() -> int:
    """Read the environment and serve; the process's exit code."""
    configure()
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        _logger.error("%s", error)
        return 2
    asyncio.run(_run(settings))
    return 0


async def _run(settings: Settings) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    connection = connect(os.environ, time.monotonic, agent="tidegate-router")
    try:
        await serve(settings, connection, AGENT_PORT, stopped)
    finally:
        await connection.session.close()


async def serve(settings: Settings, connection: Connection, port: int, stopped: asyncio.Event) -> None:
    """Until it is stopped. Raises OSError if the port is taken."""
    envoy = Envoy(settings.folder, ADMIN_SOCKET)
    pods = aiohttp.ClientSession()
    xds = Xds(lambda: agent.envoy_changed())
    watch = Watch(Api(connection, lambda verb, code: None), settings.namespace, lambda name: agent.model_changed(name))
    agent = Agent(settings.folder, watch, xds, time.monotonic)
    said = Answers(agent, envoy, settings.pod, settings.token_file, pods)
    answers = web.AppRunner(said.app, access_log=None, shutdown_timeout=1)
    reading = [reflector.run() for reflector in watch.reflectors]
    work = [agent.run(), agent.insist(), agent.guard(envoy), agent.checks.run(), *reading, stopped.wait()]
    tasks = [asyncio.ensure_future(each) for each in work]
    server = await xds.listen(settings.folder / XDS_SOCKET)
    holding = await agent.hold.listen(settings.folder / HOLD_SOCKET)
    ending = await said.listen_for_the_end(settings.folder / END_SOCKET)
    await answers.setup()
    await web.TCPSite(answers, port=port).start()
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()  # only a bug ends one of the others
    finally:
        for task in tasks:
            task.cancel()
        await answers.cleanup()
        await ending.cleanup()
        await holding.cleanup()
        await server.stop(None)
        await pods.close()
        await envoy.close()


if __name__ == "__main__":
    sys.exit(main())

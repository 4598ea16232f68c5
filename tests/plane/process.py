"""The operator as a process of its own: started, measured, stopped, killed."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from plane.install import NAMESPACE, operator_environment
from plane.program import Program, ProgramError, free_ports


@dataclass(frozen=True)
class LeaseTimes:
    """Seconds, as in the operator's settings."""

    duration: int = 15
    renew: int = 5
    deadline: int = 10


QUICK_LEASE = LeaseTimes(6, 2, 4)
_numbers = itertools.count(1)


class Metrics:
    """One scrape."""

    def __init__(self, text: str) -> None:
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels; 0 if there are none."""
        return sum(
            sample.value for sample in self._samples if sample.name == name and labels.items() <= sample.labels.items()
        )


@dataclass(frozen=True)
class InPod:
    """The way to the API server that a pod has: an address, and a folder with token and authority.

    A kubeconfig is read by the official client, whose import alone takes longer and more memory than
    the operator; no pod ever pays that, so what is measured must not either.
    """

    port: int
    account: Path


IN_POD = """
import pathlib, sys
sys.modules["kubernetes"] = None
from tidegate_cluster import connection
connection.SERVICE_ACCOUNT = pathlib.Path(sys.argv[1])
from tidegate_operator.__main__ import main
sys.exit(main())
"""
"""`python -m tidegate_operator` as in the image, which leaves out the official client (kopf would import it). Only the
folder of the service account is another: nobody but root could make it in its place."""


class Operator(Program):
    """`python -m tidegate_operator` of this checkout, as in a pod or against a kubeconfig."""

    def __init__(
        self,
        python: str,
        way: Path | InPod,
        folder: Path,
        *,
        identity: str = "",
        lease: LeaseTimes = LeaseTimes(),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.identity = identity or f"operator-{next(_numbers)}"
        """The name of its pod. Under the same name it takes its own Lease again at once, as a container does."""
        self.metrics_port, health_port = free_ports(2)
        environment = operator_environment() | {
            "HOME": str(folder),
            "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),  # the image has it ready; here the first start makes it
            "TIDEGATE_NAMESPACE": NAMESPACE,
            "TIDEGATE_POD_NAME": self.identity,
            "TIDEGATE_SERVER_IMAGE": "registry.example/tidegate-server:1",
            "TIDEGATE_TOOLS_IMAGE": "registry.example/tidegate-tools:1",
            "TIDEGATE_ENVOY_IMAGE": "registry.example/envoy:1",
            "TIDEGATE_TRAFFIC_VIA": "Service",  # there are no pods here, so no routers
            "TIDEGATE_HEALTH_PORT": str(health_port),
            "TIDEGATE_METRICS_PORT": str(self.metrics_port),
            "TIDEGATE_LEASE_SECONDS": str(lease.duration),
            "TIDEGATE_LEASE_RENEW_SECONDS": str(lease.renew),
            "TIDEGATE_LEASE_DEADLINE_SECONDS": str(lease.deadline),
            **(settings or {}),
        }
        if isinstance(way, InPod):
            environment |= {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(way.port)}
            argv = [python, "-c", IN_POD, str(way.account)]
        else:
            environment["KUBECONFIG"] = str(way)
            argv = [python, "-m", "tidegate_operator"]
        super().__init__(self.identity, argv, environment, folder / f"{self.identity}.log")

    async def metrics(self) -> Metrics | None:
        """None while it does not answer."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        timeout = aiohttp.ClientTimeout(total=2)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
                return Metrics(await response.text())
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def leads(self) -> bool:
        found = await self.metrics()
        return found is not None and found.total("tidegate_leader") == 1

    async def until_leading(self, seconds: float = 30.0) -> None:
        """Wait until it holds the Lease; its end in the meantime is an error."""
        try:
            async with asyncio.timeout(seconds):
                while not await self.leads():
                    self.expect_running()
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise ProgramError(f"{self.name} does not lead within {seconds:g} s, see {self.log}") from error

    async def terminate(self, seconds: float = 10.0) -> None:
        """SIGTERM.

        Raises ProgramError unless it ends in time with 0.
        """
        self.expect_running()
        self.process.terminate()
        code = await asyncio.to_thread(self.wait_for_end, seconds)
        if code != 0:
            raise ProgramError(f"{self.name} ended with {code} after SIGTERM, see {self.log}")


@asynccontextmanager
async def running(operator: Operator) -> AsyncIterator[Operator]:
    """Leads while the context is open. Ends it by SIGTERM, and insists on a clean exit unless it is gone already."""
    operator.start()
    try:
        await operator.until_leading()
        yield operator
        if operator.is_running:
            await operator.terminate()
    finally:
        operator.kill()

"""The operator's settings, read once from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate_operator.core.types import Release, Via


class SettingsError(ValueError):
    """A setting that is missing or wrong; the message names the variable."""


@dataclass(frozen=True, slots=True)
class Settings:
    release: Release
    namespace: str
    """Where the operator itself lives, and its Lease."""
    identity: str
    """Who holds the Lease: the name of the pod."""
    watch_namespaces: tuple[str, ...] = ()
    """Empty: every namespace."""
    via: Via = Via.ROUTER
    """How requests reach the models whose spec does not say it."""
    log_level: str = "INFO"
    health_port: int = 8080
    metrics_port: int = 9090
    pod_ip: str = ""
    """Empty: a standby cannot say what the process that leads counts."""
    resync_seconds: float = 300.0
    workers: int = 8
    lease_name: str = "tidegate-operator"
    lease: "LeaseTimes" = field(default_factory=lambda: LeaseTimes())

    @property
    def address(self) -> str:
        """Where other processes ask this one; empty: nowhere.

        >>> Settings(Release("", ""), "", "", pod_ip="fd00::7").address
        '[fd00::7]:9090'
        """
        host = f"[{self.pod_ip}]" if ":" in self.pod_ip else self.pod_ip
        return f"{host}:{self.metrics_port}" if host else ""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds; deadline < duration, so that a leader stops before another one starts."""

    duration: float = 15.0
    renew: float = 5.0
    deadline: float = 10.0


def read(environment: Mapping[str, str]) -> Settings:
    """The settings in an environment.

    Raises SettingsError.

    >>> read({})
    Traceback (most recent call last):
    tidegate_operator.settings.SettingsError: TIDEGATE_SERVER_IMAGE is not set
    """

    def text(name: str, default: str | None = None) -> str:
        found = environment.get(name, "") or default
        if found is None:
            raise SettingsError(f"{name} is not set")
        return found

    def number(name: str, default: float) -> float:
        try:
            found = float(text(name, str(default)))
        except ValueError as error:
            raise SettingsError(f"{name} must be a number, not {environment[name]!r}") from error
        if found <= 0:
            raise SettingsError(f"{name} must be greater than 0")
        return found

    def via(name: str) -> Via:
        found = text(name, Via.ROUTER)
        try:
            return Via(found)
        except ValueError as error:
            raise SettingsError(f"{name} must be {' or '.join(Via)}, not {found!r}") from error

    lease = LeaseTimes(
        number("TIDEGATE_LEASE_SECONDS", 15),
        number("TIDEGATE_LEASE_RENEW_SECONDS", 5),
        number("TIDEGATE_LEASE_DEADLINE_SECONDS", 10),
    )
    if not lease.renew < lease.deadline < lease.duration:
        raise SettingsError(
            "TIDEGATE_LEASE_RENEW_SECONDS < TIDEGATE_LEASE_DEADLINE_SECONDS < TIDEGATE_LEASE_SECONDS does not hold"
        )
    watched = tuple(name.strip() for name in text("TIDEGATE_WATCH_NAMESPACES", "").split(",") if name.strip())
    return Settings(
        release=Release(
            server_image=text("TIDEGATE_SERVER_IMAGE"),
            tools_image=text("TIDEGATE_TOOLS_IMAGE"),
            envoy_image=text("TIDEGATE_ENVOY_IMAGE"),
            pull_policy=text("TIDEGATE_IMAGE_PULL_POLICY", "IfNotPresent"),
            bundle_max_bytes=int(number("TIDEGATE_BUNDLE_MAX_BYTES", 4 * 1024**3)),
        ),
        namespace=text("TIDEGATE_NAMESPACE"),
        identity=text("TIDEGATE_POD_NAME"),
        watch_namespaces=watched,
        via=via("TIDEGATE_TRAFFIC_VIA"),
        log_level=text("TIDEGATE_LOG_LEVEL", "INFO").upper(),
        health_port=int(number("TIDEGATE_HEALTH_PORT", 8080)),
        metrics_port=int(number("TIDEGATE_METRICS_PORT", 9090)),
        pod_ip=text("TIDEGATE_POD_IP", ""),
        resync_seconds=number("TIDEGATE_RESYNC_SECONDS", 300),
        lease_name=text("TIDEGATE_LEASE_NAME", "tidegate-operator"),
        lease=lease,
    )

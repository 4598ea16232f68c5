"""What the environment of the agent says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tidegate_contract.names import ENV_POD_UID
from tidegate_contract.router import ENV_FOLDER, ENV_NAMESPACE, ENV_TOKEN_FILE


class SettingsError(ValueError):
    """The environment is wrong; the message says what to set."""


@dataclass(frozen=True, slots=True)
class Settings:
    namespace: str
    """Whose models are routed."""
    pod: str
    """Uid of the router's pod."""
    folder: PurePosixPath
    """Of the sockets between Envoy and the agent."""
    token_file: Path
    """What the operator has to know to be told anything."""


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raises SettingsError."""
    wanted = (ENV_NAMESPACE, ENV_POD_UID, ENV_FOLDER, ENV_TOKEN_FILE)
    if missing := [name for name in wanted if not environment.get(name)]:
        raise SettingsError(f"these variables have to be set: {', '.join(missing)}")
    namespace, pod, folder, token_file = (environment[name] for name in wanted)
    return Settings(namespace, pod, PurePosixPath(folder), Path(token_file))

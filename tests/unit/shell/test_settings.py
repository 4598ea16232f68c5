"""The operator's environment, read once: what must be said, and what is refused in words."""

import pytest

from answering import ENVIRONMENT
from tidegate_operator.core.types import Release, Via
from tidegate_operator.settings import Settings, SettingsError, read


def test_what_must_be_said_is_enough() -> None:
    assert read(ENVIRONMENT) == Settings(
        Release(server_image="server:1", tools_image="tools:1", envoy_image="envoy:1"), "tidegate", "operator-1"
    )


@pytest.mark.parametrize("name", ENVIRONMENT)
@pytest.mark.parametrize("missing", ["absent", "empty"])
def test_what_is_missing_is_named(name: str, missing: str) -> None:
    environment = {**ENVIRONMENT, name: ""}
    if missing == "absent":
        del environment[name]
    with pytest.raises(SettingsError, match=f"^{name} is not set$"):
        read(environment)


@pytest.mark.parametrize("via", Via)
def test_models_that_do_not_say_how_they_are_reached_are_told(via: Via) -> None:
    assert read({**ENVIRONMENT, "TIDEGATE_TRAFFIC_VIA": via.value}).via is via


@pytest.mark.parametrize("via", ["router", "Gateway", " Service"])
def test_another_way_is_refused_with_those_that_there_are(via: str) -> None:
    with pytest.raises(SettingsError, match=f"^TIDEGATE_TRAFFIC_VIA must be Router or Service, not '{via}'$"):
        read({**ENVIRONMENT, "TIDEGATE_TRAFFIC_VIA": via})

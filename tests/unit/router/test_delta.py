"""One conversation with Envoy, message by message. `tests/property/test_delta.py` has it in any order."""

import pytest

from tidegate_router.delta import WILDCARD, Conversation, Key, Message, Resource
from tidegate_router.documents import CLUSTER, ENDPOINTS, LISTENER, ROUTE

A: Key = (CLUSTER, "flights/a")
PODS: Key = (ENDPOINTS, "flights/a")
PORT: Key = (LISTENER, "flights")
PATHS: Key = (ROUTE, "flights")
CATALOG = {
    A: Resource("1", b"{}"),
    PODS: Resource("1", b"{}"),
    PORT: Resource("1", b"{}", after=frozenset({A, PODS})),
    PATHS: Resource("1", b"{}"),
}


class Said:
    """A conversation, and what was said in it last."""

    def __init__(self) -> None:
        self.conversation = Conversation()
        self.last: list[Message] = []

    def due(self, catalog: dict[Key, Resource]) -> list[tuple[Key, str | None]]:
        """Keys and versions; None where there is no such thing."""
        found = self.conversation.due(catalog)
        self.last = found or self.last
        return [((each.kind, each.name), each.resource.version if each.resource else None) for each in found]

    def answer(self, error: str = "") -> None:
        """To all that was said last."""
        for message in self.last:
            self.conversation.take(message.kind, nonce=message.nonce, error=error)


@pytest.fixture
def said() -> Said:
    """Envoy has asked for all clusters and listeners, as it does at its start, and there were none."""
    made = Said()
    made.conversation.take(CLUSTER, subscribe=[WILDCARD])
    made.conversation.take(LISTENER)
    assert made.due({}) == [((LISTENER, WILDCARD), None), ((CLUSTER, WILDCARD), None)]
    made.answer()
    return made


@pytest.fixture
def settled(said: Said) -> Said:
    """Envoy has the whole catalog."""
    said.due(CATALOG)
    said.answer()
    said.conversation.take(ENDPOINTS, subscribe=["flights/a"])
    said.due(CATALOG)
    said.answer()
    said.due(CATALOG)
    said.answer()
    said.conversation.take(ROUTE, subscribe=["flights"])
    said.due(CATALOG)
    said.answer()
    assert said.conversation.confirmed == dict.fromkeys(CATALOG, "1")
    return said


def newer(key: Key, version: str = "2") -> dict[Key, Resource]:
    return CATALOG | {key: Resource(version, b"{}", CATALOG[key].after)}


def test_nothing_is_said_before_envoy_asks() -> None:
    assert Conversation().due(CATALOG) == []


def test_a_first_message_without_names_asks_for_all_of_its_type() -> None:
    made = Said()
    made.conversation.take(CLUSTER)
    assert made.due(CATALOG) == [(A, "1")]


def test_that_there_is_nothing_is_said_once_as_envoy_does_not_start_before_it_knows() -> None:
    made = Said()
    made.conversation.take(LISTENER, subscribe=[WILDCARD])
    assert made.due({}) == [((LISTENER, WILDCARD), None)]
    assert made.due({}) == []
    made.conversation.take(CLUSTER, has={"flights/a": "1"})
    assert made.due({A: CATALOG[A]}) == []


def test_what_is_not_asked_for_by_name_is_not_said(said: Said) -> None:
    said.conversation.take(ENDPOINTS, subscribe=["others/a"])
    assert (PODS, "1") not in said.due(CATALOG)


def test_a_listener_waits_until_everything_that_it_leads_to_is_confirmed(said: Said) -> None:
    assert said.due(CATALOG) == [(A, "1")]
    assert said.due(CATALOG) == []
    said.answer()
    said.conversation.take(ENDPOINTS, subscribe=["flights/a"])
    assert said.due(CATALOG) == [(PODS, "1")]
    assert said.due(CATALOG) == []
    said.answer()
    assert said.due(CATALOG) == [(PORT, "1")]


def test_each_resource_has_a_message_and_a_nonce_of_its_own(said: Said) -> None:
    said.due(CATALOG | {(CLUSTER, "others/a"): Resource("1", b"{}")})
    assert [message.nonce for message in said.last] == ["3", "4"]


def test_that_there_is_no_such_thing_is_said_once_where_it_is_asked_for(said: Said) -> None:
    said.conversation.take(ENDPOINTS, subscribe=["gone/a"])
    assert said.due({}) == [((ENDPOINTS, "gone/a"), None)]
    assert said.due({}) == []


def test_what_has_been_answered_is_not_asked_for_any_more(said: Said) -> None:
    said.conversation.take(ENDPOINTS, subscribe=["flights/a"])
    assert (PODS, "1") in said.due(CATALOG)
    said.conversation.take(ENDPOINTS, nonce=said.last[-1].nonce, error="no")
    without = {key: resource for key, resource in CATALOG.items() if key != PODS}
    assert said.due(without) == []


def test_what_is_gone_ends_from_the_outside_in_and_after_what_is_new(settled: Said) -> None:
    assert settled.due({(CLUSTER, "others/a"): Resource("1", b"{}")}) == [
        ((CLUSTER, "others/a"), "1"),
        (PORT, None),
        (PODS, None),
        (PATHS, None),
        (A, None),
    ]
    settled.answer()
    assert settled.conversation.confirmed == {(CLUSTER, "others/a"): "1"}


def test_what_was_taken_is_not_said_again(settled: Said) -> None:
    assert settled.due(CATALOG) == []


def test_envoy_goes_on_with_what_it_had_where_it_refuses_another_version(settled: Said) -> None:
    assert settled.due(newer(PATHS)) == [(PATHS, "2")]
    settled.answer("bad weights")
    assert settled.conversation.confirmed[PATHS] == "1"
    assert settled.conversation.refused == {PATHS: ("2", "bad weights")}
    assert settled.due(newer(PATHS)) == []
    assert settled.due(CATALOG) == []  # it has this one still


def test_a_version_after_the_refused_one_is_said_and_the_refusal_is_over_when_it_is_taken(settled: Said) -> None:
    settled.due(newer(PATHS))
    settled.answer("bad weights")
    assert settled.due(newer(PATHS, "3")) == [(PATHS, "3")]
    assert settled.conversation.refused == {PATHS: ("2", "bad weights")}
    settled.answer()
    assert (settled.conversation.confirmed[PATHS], settled.conversation.refused) == ("3", {})


def test_a_refusal_of_what_something_newer_has_followed_takes_nothing_back(settled: Said) -> None:
    settled.due(newer(PATHS, "2"))
    (first,) = settled.last
    settled.due(newer(PATHS, "3"))
    (second,) = settled.last
    settled.conversation.take(ROUTE, nonce=first.nonce, error="no")
    assert settled.due(newer(PATHS, "3")) == []
    settled.conversation.take(ROUTE, nonce=second.nonce)
    assert settled.conversation.confirmed[PATHS] == "3"


def test_what_was_refused_is_said_again_when_something_of_its_kind_has_ended(settled: Said) -> None:
    """Its port may have been taken by what has ended."""
    wanted = CATALOG | {(LISTENER, "others"): Resource("1", b"{}")}
    settled.due(wanted)
    settled.answer("duplicate address")
    assert settled.due(wanted) == []
    rest = {(LISTENER, "others"): Resource("1", b"{}")}
    settled.due(rest)
    settled.answer()
    assert settled.due(rest) == [((LISTENER, "others"), "1")]


def test_a_refusal_is_over_when_nobody_wants_the_thing_any_more(settled: Said) -> None:
    wanted = CATALOG | {(LISTENER, "others"): Resource("1", b"{}")}
    settled.due(wanted)
    settled.answer("duplicate address")
    settled.due(CATALOG)
    assert settled.conversation.refused == {}
    assert settled.due(wanted) == [((LISTENER, "others"), "1")]


def test_envoy_says_what_it_has_from_before_and_is_told_only_what_differs() -> None:
    made = Said()
    made.conversation.take(CLUSTER, subscribe=[WILDCARD], has={"flights/a": "1", "gone/a": "1"})
    made.conversation.take(ENDPOINTS, subscribe=["flights/a"], has={"flights/a": "0"})
    assert made.conversation.confirmed == {A: "1", (CLUSTER, "gone/a"): "1", PODS: "0"}
    assert made.due(CATALOG) == [(PODS, "1"), ((CLUSTER, "gone/a"), None)]


def test_what_envoy_asks_for_anew_it_is_told_anew(settled: Said) -> None:
    settled.conversation.take(ENDPOINTS, subscribe=["flights/a"])
    assert PODS not in settled.conversation.confirmed
    assert settled.due(CATALOG) == [(PODS, "1")]


def test_what_envoy_does_not_want_any_more_it_is_not_told(settled: Said) -> None:
    settled.conversation.take(ENDPOINTS, unsubscribe=["flights/a"])
    assert PODS not in settled.conversation.confirmed
    assert settled.due(newer(PODS)) == []


def test_an_answer_about_what_is_not_wanted_any_more_says_nothing(settled: Said) -> None:
    settled.due(newer(PODS))
    settled.conversation.take(ENDPOINTS, unsubscribe=["flights/a"])
    settled.answer()
    assert PODS not in settled.conversation.confirmed


def test_one_message_may_both_confirm_and_end_a_subscription(settled: Said) -> None:
    settled.due(newer(PODS))
    settled.conversation.take(ENDPOINTS, unsubscribe=["flights/a"], nonce=settled.last[0].nonce)
    assert PODS not in settled.conversation.confirmed


@pytest.mark.parametrize("nonce", ["", "99"])
def test_an_answer_to_nothing_says_nothing(settled: Said, nonce: str) -> None:
    settled.conversation.take(CLUSTER, nonce=nonce, error="no")
    assert settled.conversation.refused == {}


def test_of_a_model_that_nobody_knows_what_to_say_of_nothing_is_taken_away(settled: Said) -> None:
    assert settled.conversation.due({}, kept={"flights"}) == []
    assert len(settled.conversation.due({})) == len(CATALOG)


def test_what_was_refused_is_said_once_more_when_it_is_to_be_tried_again(settled: Said) -> None:
    other = {**CATALOG, PATHS: Resource("2", b"{}")}
    assert settled.due(other) == [(PATHS, "2")]
    settled.answer("no such cluster")
    assert settled.due(other) == []
    settled.conversation.try_again()
    assert settled.conversation.refused[PATHS] == ("2", "no such cluster"), "until it takes it"
    assert settled.due(other) == [(PATHS, "2")]
    assert settled.due(other) == []
    settled.answer()
    assert not settled.conversation.refused


def test_a_version_loses_its_pods_after_its_place_in_the_route(settled: Said) -> None:
    """Else who names it meanwhile waits for a pod that never comes."""
    without = {**CATALOG, PATHS: Resource("2", b"{}"), PODS: Resource("2", b"{}")}
    assert settled.due(without) == [(PATHS, "2"), (PODS, "2")]

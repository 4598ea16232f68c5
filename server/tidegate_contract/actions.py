"""How people act on a model: three annotations that they, or the command line, set on the ModelDeployment.

The operator never writes them. It obeys an action once, by its id, and answers in `status.action`: also to one that it
cannot read, so that whoever wrote it learns what to write instead. Who acted is part of it, and a policy of the chart
sees to it that the name is the caller's own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tidegate_contract.labels import DOMAIN
from tidegate_contract.names import REVISION_PATTERN

ACTION = f"{DOMAIN}/action"
"""Annotation: `<id> <verb> [<revision>]`."""

ACTION_BY = f"{DOMAIN}/action-by"
"""Annotation: the user name of who acts, as the API server knows it."""

ACTION_REASON = f"{DOMAIN}/action-reason"
"""Annotation: why, in the words of who acts; may be empty."""

BY_LIMIT = 253
"""Characters of a user name that are kept."""
REASON_LIMIT = 1024
"""Characters of a reason that are kept."""
_WORD_LIMIT = 64
"""Characters of an id, a verb or a revision that are kept: a word that is cut is no valid one any more."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Verb(StrEnum):
    """What people may ask for."""

    PAUSE = "Pause"
    """Move no further."""
    RESUME = "Resume"
    """Take a Pause back."""
    APPROVE = "Approve"
    """Go on to the next step of the rollout."""
    PROMOTE = "Promote"
    """Skip all steps that are left: the candidate takes over."""
    ABORT = "Abort"
    """End the rollout: the candidate is rejected, and stable has all requests again."""
    ROLLBACK = "Rollback"
    """Go back to the revision that is named, or to the one that served before."""


_VERBS = f"{', '.join(list(Verb)[:-1])} or {list(Verb)[-1]}"
"""In words, for who wrote another one."""


class Outcome(StrEnum):
    """What became of an action, as `status.action.outcome` says it."""

    OBEYED = "Obeyed"
    REFUSED = "Refused"
    IGNORED = "Ignored"


@dataclass(frozen=True, slots=True)
class Action:
    """One wish of one person. Only `check` says whether it can be meant."""

    id: str
    """Chosen by who acts, another one for every action."""
    verb: str
    """One of `Verb`, or whatever was written in its place."""
    revision: str = ""
    """Of a Rollback: eight hex digits; empty for the revision that served before."""
    by: str = ""
    reason: str = ""


class ActionError(ValueError):
    """An action that nobody can obey; the message says what to write instead."""

    def __init__(self, action: Action, message: str) -> None:
        super().__init__(message)
        self.action = action
        """What could be read of it: whose id the answer carries."""


def parse(annotations: Mapping[str, str]) -> Action | None:
    """The action in an object's annotations, as it is written; None if there is none.

    >>> parse({ACTION: "7 Rollback 0a1b2c3d", ACTION_BY: "ada"})
    Action(id='7', verb='Rollback', revision='0a1b2c3d', by='ada', reason='')
    >>> parse({ACTION: "8 Approve", ACTION_REASON: "an hour without an error"})
    Action(id='8', verb='Approve', revision='', by='', reason='an hour without an error')
    >>> parse({ACTION: "pause!"})
    Action(id='pause!', verb='', revision='', by='', reason='')
    >>> parse({}) is None
    True
    """
    if (text := annotations.get(ACTION)) is None:
        return None
    words = [*text.split(maxsplit=2), "", "", ""]
    return Action(
        id=_cut(words[0], _WORD_LIMIT),
        verb=_cut(words[1], _WORD_LIMIT),
        revision=_cut(words[2].rstrip(), _WORD_LIMIT),
        by=_cut(annotations.get(ACTION_BY, ""), BY_LIMIT),
        reason=_cut(annotations.get(ACTION_REASON, ""), REASON_LIMIT),
    )


def check(action: Action) -> Verb:
    """The verb of an action that can be meant.

    Raises ActionError.

    >>> check(Action("7", "Pause"))
    <Verb.PAUSE: 'Pause'>
    >>> check(Action("7", "pause"))
    Traceback (most recent call last):
    tidegate_contract.actions.ActionError: the verb is 'pause' and must be Pause, Resume, Approve, Promote, Abort or \
Rollback; an action is written <id> <verb> [<revision>]
    """
    form = "an action is written <id> <verb> [<revision>]"
    if not _ID.fullmatch(action.id):
        wrong = f"the id is {action.id!r} and must be 1 to 64 letters, digits, '.', '_' or '-'"
        raise ActionError(action, f"{wrong}; {form}")
    try:
        verb = Verb(action.verb)
    except ValueError as error:
        wrong = f"the verb is {action.verb!r} and must be {_VERBS}"
        raise ActionError(action, f"{wrong}; {form}") from error
    if action.revision and verb is not Verb.ROLLBACK:
        raise ActionError(action, f"{verb} takes no revision; leave {action.revision!r} out")
    if action.revision and not REVISION_PATTERN.fullmatch(action.revision):
        wrong = f"the revision is {action.revision!r} and must be eight hex digits"
        raise ActionError(action, f"{wrong}, as `tidegate history` lists them")
    return verb


def annotations(action: Action) -> dict[str, str]:
    """The three annotations of an action: all of them, so that nothing of an earlier one stays.

    >>> annotations(Action("7", "Pause", by="ada"))[ACTION]
    '7 Pause'
    """
    return {
        ACTION: " ".join(filter(None, (action.id, action.verb, action.revision))),
        ACTION_BY: action.by,  # whole: the policy compares it with the caller's name
        ACTION_REASON: _cut(action.reason, REASON_LIMIT),
    }


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"

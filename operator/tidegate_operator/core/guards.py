"""What stands between a wish and a write: every condition under which the operator holds back, by name.

`decide` and the steps around it never branch before a write but through `Guards.holds`,
and never send a precondition but through `Guards.keep`. So the list below is the
whole list, `make verify` can take each away and must then find a world in which
something goes wrong, and a test finds the branch that somebody forgot to enter here.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")


class Guard(StrEnum):
    """Each with what would go wrong without it."""

    # ------------------------------------------------ whose it is
    OURS = "ours"
    """Only what is ours is changed or removed: somebody else's object would be overwritten."""
    NAME_FREE = "name free"
    """A name is asked for before it is taken: the caches do not show what is not ours."""
    OWNER_LIVES = "owner lives"
    """A child is made only while its ModelDeployment is there: it would come back after its owner's end."""
    ONLY_IF_ABSENT = "only if absent"
    """What is made is made only if its name still is free: whoever took it since the question would be overwritten."""
    RECORD_VERSION = "record version"
    """A record is written on the one that was read: a rejection that another look wrote meanwhile would be lost."""
    UPDATE_UID = "update uid"
    """A change names the object it is for: a child that is gone would be made again, unasked."""
    DELETE_UID = "delete uid"
    """A removal names the object it is for: whoever took the name meanwhile would be deleted."""

    # ------------------------------------------------ whether there is anything to do
    CHANGED = "changed"
    """A child that is as it should be is left alone: there would be no end of writing."""
    RECORD_CHANGED = "record changed"
    """A record that is right is left alone, for the same reason."""
    STATUS_CHANGED = "status changed"
    """And a status."""
    REPLICAS_DIFFER = "replicas differ"
    """And the replicas."""
    MADE_ONCE = "made once"
    """A Job is made and never changed: the API server refuses a change of what it runs, for ever."""
    NOT_GOING = "not going"
    """What is being deleted is not deleted again."""

    # ------------------------------------------------ what the status says
    STATUS_VERSION = "status version"
    """A status is written on the version that it was decided on: an old view would undo a newer decision."""
    LEASE = "lease"
    """Only the holder of the Lease writes: two operators would undo each other's work."""
    NEW_ACTION = "new action"
    """An action is obeyed once: a pause that was resumed would come back."""
    SEEN_BEFORE = "seen before"
    """An action that came with a new object is history: a restore would repeat it."""

    # ------------------------------------------------ which version serves
    RESOLVED = "resolved"
    """A revision is made when its digest is known: two pods of it could run different bytes."""
    RECORDED = "recorded"
    """Pods are made when their revision is kept: nobody could make them again."""
    NOT_REJECTED = "not rejected"
    """What was rejected is not served."""
    NOT_PAUSED = "not paused"
    """While paused no other version takes over."""
    KEPT = "kept"
    """A rollback goes to a revision that is kept: there would be nothing to go to."""

    # ------------------------------------------------ how the traffic moves
    PODS_READY = "pods ready"
    """A version gets more weight when its pods are ready: its requests would wait, or fail."""
    PODS_KNOWN = "pods known"
    """And when every router knows them: one that does not would have nowhere to send them."""
    STABLE_READY = "stable ready"
    """A version that serves loses its weight when the other one can take it: all requests would wait, or be refused."""
    ACKNOWLEDGED = "acknowledged"
    """Only less weight follows a change of the route before every router runs it: one that lags behind would send
    requests to pods that are gone."""
    DRAINED = "drained"
    """The pods of a version go when no router has a request there: they would go away under it."""
    ROUTERS_KNOWN = "routers known"
    """Before pods go the routers are asked for afresh: one that the caches do not show yet may have a request there."""
    OTHERS_ANSWER = "others answer"
    """A router that does not answer is ended only while another one answers: it may be the operator that is cut off."""
    RESTED = "rested"
    """And only one in five minutes: what keeps them from answering would end them all."""
    COUNTED = "counted"
    """A version gets requests when what they say is kept: a process that ends would forget what spoke against it."""
    EVIDENT = "evident"
    """It gets more when the requests that it had say nothing against it: it would take everything, good or bad."""
    AFRESH = "afresh"
    """A second trial has new pods: one bad pod would reject the version."""
    OWN_PODS = "own pods"
    """Pods that an object before has left get no requests: they go, and their version may have been rejected."""
    SUCCEEDED = "succeeded"
    """Pods go when others serve in their place: where requests stop to come through routers, or begin to."""

    # ------------------------------------------------ what is thrown away
    UNWANTED = "unwanted"
    """A child is removed only when nothing wants it."""
    BEYOND_THE_LAST = "beyond the last"
    """The newest revisions are kept: a rollback would have nothing to go to."""
    UNREFERENCED = "unreferenced"
    """What serves, should serve or is asked for is kept, however old."""
    A_DAY_ALONE = "a day alone"
    """Revisions outlive their ModelDeployment by a day: a restore would find no record of them."""
    MODEL_GONE = "model gone"
    """Revisions of a ModelDeployment that is there are not orphans."""


@dataclass(frozen=True, slots=True)
class Guards:
    """All of them, but for those that were taken away; only `make verify` takes any away."""

    without: frozenset[Guard] = frozenset()

    def holds(self, guard: Guard, fact: bool) -> bool:
        """Whether the step may go on: the fact, or that nobody asks for it."""
        return fact or guard in self.without

    def keep(self, guard: Guard, precondition: T) -> T | None:
        """A precondition that the API server is asked to check, or none."""
        return None if guard in self.without else precondition


ALL = Guards()

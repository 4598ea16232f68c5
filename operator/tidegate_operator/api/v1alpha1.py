"""ModelDeployment v1alpha1: the one source of the CRD, of the validation and of the documentation.

What a schema or a CEL rule can refuse, the API server refuses, with the message
written here. `parse` therefore meets only objects that have passed; it converts them
once to the core's frozen types.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from tidegate_contract import names, source
from tidegate_contract.actions import Outcome
from tidegate_contract.route import FIRST_PORT, LAST_PORT, LONGEST_SECONDS, LONGEST_STICKY_SECONDS, WHOLE
from tidegate_operator.api.durations import DURATION_PATTERN, seconds
from tidegate_operator.core import types as core
from tidegate_operator.core.ramp import UNKNOWN

Name = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
ShortText = Annotated[str, Field(max_length=253)]
Quantity = Annotated[
    str,
    Field(
        max_length=32,
        pattern=r"^[0-9]+(\.[0-9]+)?(m|[kMGTPE]|[KMGTPE]i)?$",
        json_schema_extra={"x-kubernetes-int-or-string": True},
    ),
]


def rule(expression: str, message: str, path: str = "") -> dict[str, str]:
    """A CEL rule of the API server.

    `path` names the field at fault. A rule that stands on a string itself makes the
    server print the string, so every rule about an address, which may hold a password,
    stands on its parent.
    """
    found = {"rule": expression, "message": message}
    return found | {"fieldPath": path} if path else found


def rules(*found: dict[str, str]) -> dict[str, Any]:
    return {"x-kubernetes-validations": list(found)}


def list_of(kind: str, **more: Any) -> dict[str, Any]:
    return {"x-kubernetes-list-type": kind, **more}


Percent = Annotated[str, Field(max_length=8, pattern=r"^[0-9]{1,2}(\.[0-9]{1,3})?%$")]


class Api(BaseModel):
    """Camel case outside, snake case inside, and nothing unknown."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Owner(Api):
    """Who answers for the model; shown wherever it fails."""

    team: ShortText = Field("", description="The team that owns the model.")
    contact: ShortText = Field("", description="Where that team is reached: an address, a channel, a pager.")
    runbook: Annotated[str, Field(max_length=1024)] = Field("", description="A page that says what to do.")


class Model(Api):
    """What is served."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!self.uri.matches('^[a-zA-Z0-9+.-]+://[^/]*@')",
                "an address must not carry credentials: put them in a Secret and name it in secretName (https) "
                "or in server.template.imagePullSecrets (oci)",
                ".uri",
            ),
            rule(
                "self.uri.matches('^(oci|pvc|https)://')",
                "the address must start with oci://, pvc:// or https://",
                ".uri",
            ),
            rule(
                "!self.uri.startsWith('oci://') || self.uri.matches('^oci://[^/@]+/.*[^/]$')",
                "an oci address is oci://REGISTRY/NAME:TAG or oci://REGISTRY/NAME@sha256:DIGEST",
                ".uri",
            ),
            rule(
                "!self.uri.startsWith('pvc://') || "
                "(self.uri.matches('^pvc://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(/|$)') && "
                "!self.uri.matches('/[.][.]?(/|$)'))",
                "a pvc address is pvc://CLAIM/PATH, and the path holds no . or .. parts",
                ".uri",
            ),
            rule(
                "!self.uri.startsWith('https://') || "
                "self.uri.matches('^https://([A-Za-z0-9._-]+|[[][0-9A-Fa-f:.]+[]])(:[0-9]{1,5})?/.+')",
                "an https address is https://HOST[:PORT]/PATH",
                ".uri",
            ),
            rule(
                "!has(self.secretName) || self.uri.startsWith('https://')",
                "secretName is for https addresses; credentials of an oci registry go to "
                "server.template.imagePullSecrets, and a pvc needs none",
                ".secretName",
            ),
        )
    )

    uri: Annotated[str, Field(min_length=1, max_length=2048)] = Field(
        description="Address of the bundle: oci://REGISTRY/NAME:TAG, pvc://CLAIM/PATH or https://HOST/PATH.tar.gz."
    )
    digest: Annotated[str, Field(max_length=71, pattern=source.DIGEST_PATTERN)] | None = Field(
        None,
        description="Digest of the bundle's manifest, as `tidegate inspect` prints it. Other bytes are never served. "
        "Without it the address is read once, and what it held then is served.",
    )
    secret_name: Name | None = Field(
        None,
        description="Secret with the credentials of an https address: token, or username and password; ca.crt for a "
        "private authority. Only the fetcher sees it.",
    )
    allow_pickle: bool = Field(
        False,
        description="Load a model that runs code of its author: a pickle or a Python class. "
        "Only for bundles you trust.",
    )


class Amounts(Api):
    """Amounts of CPU and memory. A bare number is fine: YAML reads `cpu: 2` as one."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    cpu: Quantity | None = Field(None, description="CPU, for example 500m or 2.")
    memory: Quantity | None = Field(None, description="Memory, for example 512Mi.")


class Resources(Api):
    """What a pod asks for, and what it may not exceed."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *(
                rule(
                    f"!has(self.requests.{amount}) || !has(self.limits.{amount}) || "
                    f"quantity(string(self.requests.{amount})).compareTo(quantity(string(self.limits.{amount}))) <= 0",
                    f"requests.{amount} must not exceed limits.{amount}: lower the one or raise the other",
                    f".requests.{amount}",
                )
                for amount in ("cpu", "memory")
            ),
            *(
                rule(
                    f"!has(self{path}) || quantity(string(self{path})).compareTo(quantity('0')) >= 0",
                    "an amount must not be negative",
                    path,
                )
                for path in (".requests.cpu", ".requests.memory", ".limits.cpu", ".limits.memory")
            ),
        )
    )

    requests: Amounts = Field(Amounts(cpu="250m", memory="512Mi"), description="What the scheduler sets aside.")
    limits: Amounts = Field(Amounts(memory="1Gi"), description="What the kernel enforces; no CPU limit by default.")


class Slo(Api):
    """What the model promises its callers."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "duration(self.timeout) >= duration('100ms') && duration(self.timeout) <= duration('10m')",
                "timeout must be between 100ms and 10m",
                ".timeout",
            )
        )
    )

    timeout: Annotated[str, Field(max_length=32, pattern=DURATION_PATTERN)] = Field(
        "10s", description="Deadline of one request; later than that the answer is 504."
    )


class Toleration(Api):
    """A taint that the pods accept, as in a pod."""

    key: ShortText = Field("", description="Key of the taint; empty with operator Exists means every taint.")
    operator: Literal["Exists", "Equal"] = Field("Equal", description="How key and value are compared.")
    value: ShortText = Field("", description="Value of the taint.")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        "", description="Effect of the taint; empty means every effect."
    )
    toleration_seconds: Annotated[int, Field(ge=0, le=86400)] | None = Field(
        None, description="Seconds that a NoExecute taint is borne."
    )


OWNERS_VARIABLES = (names.ENV_PAYLOAD_SINK, names.ENV_PAYLOAD_SAMPLE)
"""Of the server's own variables those that the operator does not write."""


class Variable(Api):
    """An environment variable with a plain value; nothing secret belongs into a serving pod."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                f"!self.name.startsWith('TIDEGATE_') || self.name in {list(OWNERS_VARIABLES)}",
                f"names that start with TIDEGATE_ are the operator's own, but for {' and '.join(OWNERS_VARIABLES)}",
                ".name",
            )
        )
    )

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = Field(
        description="Name of the variable."
    )
    value: Annotated[str, Field(max_length=4096)] = Field("", description="Value of the variable.")


class PullSecret(Api):
    """A Secret of type kubernetes.io/dockerconfigjson."""

    name: Name = Field(description="Name of the Secret, in the namespace of the model.")


class Template(Api):
    """What of a pod the owner may set; everything else is the operator's."""

    node_selector: Annotated[dict[str, ShortText], Field(max_length=32)] = Field(
        default_factory=dict, description="Labels that a node must have."
    )
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = Field(
        default_factory=list,
        description="Taints that the pods accept.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    image_pull_secrets: Annotated[list[PullSecret], Field(max_length=8)] = Field(
        default_factory=list,
        description="Credentials for the server's image and for oci addresses.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    env: Annotated[list[Variable], Field(max_length=64)] = Field(
        default_factory=list,
        description="Environment of the model server.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )


class Server(Api):
    """How the model is served."""

    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\s]+$")] | None = Field(
        None, description="Image of the model server; the operator's default when absent."
    )
    resources: Resources = Field(default_factory=Resources, description="CPU and memory of one pod.")
    slo: Slo = Field(default_factory=Slo, description="What the model promises its callers.")
    template: Template = Field(default_factory=Template, description="Settings of the pods.")


class ScalingMode(StrEnum):
    FIXED = "Fixed"
    EXTERNAL = "External"


class Scaling(Api):
    """How many pods serve."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.mode != 'External' || has(self.replicas)",
                "External needs replicas to start from: say how many pods serve now; an autoscaler or `kubectl scale` "
                "changes it from then on",
                ".replicas",
            )
        )
    )

    mode: ScalingMode = Field(
        ScalingMode.FIXED,
        description="Fixed: as many pods as replicas says. External: the same, and replicas belongs to an autoscaler "
        "(HPA, KEDA) or to `kubectl scale`, which change it through the scale subresource.",
    )
    replicas: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        None, description="Number of pods; 0 serves nothing. Absent: as many as there are, 1 to begin with."
    )


class Approval(Api):
    """A person agrees."""


class Step(Api):
    """One step of a rollout: a weight, or an approval."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.weight) != has(self.approval)",
                "a step has exactly one key: write {weight: 5} or {approval: {}}",
            )
        )
    )

    weight: Annotated[int, Field(ge=1, le=WHOLE - 1)] | None = Field(
        None, description="So many of 100 requests go to the candidate."
    )
    approval: Approval | None = Field(None, description="It goes on when a person approves: `tidegate approve NAME`.")

    @property
    def meant(self) -> core.RolloutStep:
        return core.Approval() if self.weight is None else core.Weight(self.weight)


MOST_STEPS = 20
DAMAGE_BUDGET = 30
RAMP: tuple[core.RolloutStep, ...] = tuple(map(core.Weight, UNKNOWN))
"""Where nobody says more."""
STEPS: Mapping[str, tuple[core.RolloutStep, ...]] = {
    core.Strategy.AUTO: RAMP,
    core.Strategy.CANARY: RAMP,
    core.Strategy.BLUE_GREEN: (core.Approval(),),
    core.Strategy.SHADOW: (core.Approval(),),
    core.Strategy.IMMEDIATE: (),
}
"""The steps of each strategy, where spec says none."""


class Tolerance(Api):
    """By so much a version may be worse than stable, and still take over."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *(
                rule(
                    f"double(self.{field}.replace('%', '')) > 0.0 && double(self.{field}.replace('%', '')) <= 50.0",
                    f"{field} must be above 0% and at most 50%",
                    f".{field}",
                )
                for field in ("errors", "slow")
            )
        )
    )

    errors: Percent = Field("1%", description="More answers that are no success, of all requests.")
    slow: Percent = Field(
        "0.5%", description="More answers that take longer than one and a half times stable's slowest hundredth."
    )


class Bake(Api):
    """What follows when a version has taken over."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "duration(self.duration) <= duration('168h')",
                "a bake lasts for at most 168h: the version before keeps its pods meanwhile",
                ".duration",
            )
        )
    )

    duration: Annotated[str, Field(max_length=32, pattern=DURATION_PATTERN)] = Field(
        "30m", description="So long the version before stays, to be compared with and to go back to; 0s: not at all."
    )
    holdback: Annotated[int, Field(ge=1, le=WHOLE // 2)] = Field(
        5, description="So many of 100 requests it keeps meanwhile: without any there is nothing to compare with."
    )


class Deadline(Api):
    """The end of a rollout that nothing decides."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("duration(self.after) >= duration('1m')", "after must be at least 1m", ".after"),
        )
    )

    after: Annotated[str, Field(max_length=32, pattern=DURATION_PATTERN)] = Field(
        "24h", description="So long after its begin."
    )
    then: core.Overdue = Field(
        core.Overdue.HOLD,
        description="Hold: the version stays where it is until a person says something. Rollback: it is rejected.",
    )


class Rollout(Api):
    """How another version takes over."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.steps) || (has(self.strategy) && self.strategy == 'Canary')",
                "steps are those of a Canary: write strategy: Canary, or leave steps out",
                ".steps",
            ),
            rule(
                "!has(self.damageBudget) || (has(self.strategy) && self.strategy == 'Auto')",
                "damageBudget is what Auto chooses its weights by: write strategy: Auto, or leave it out",
                ".damageBudget",
            ),
            rule(
                "!has(self.steps) || (self.steps.filter(s, has(s.weight)).map(s, s.weight).isSorted() && "
                "self.steps.all(s, !has(s.weight) || "
                "self.steps.exists_one(other, has(other.weight) && other.weight == s.weight)))",
                "the weights must rise from step to step, as in 1, 5, 25, 50",
                ".steps",
            ),
        )
    )

    strategy: core.Strategy | None = Field(
        None,
        description="Auto: step by step, as fast as its requests say that it does no harm, by weights that "
        "damageBudget allows. Canary: the same by the steps below. BlueGreen: beside stable in full, asked by name "
        "only, until a person approves; then whole. "
        "Shadow: the same, and it is sent copies of all requests, whose answers nobody sees. Immediate: as soon as it "
        "is ready, and nothing is compared. Absent: Immediate in this release. All but Immediate need traffic.via "
        "Router.",
    )
    steps: Annotated[list[Step], Field(min_length=1, max_length=MOST_STEPS)] | None = Field(
        None,
        description="What a Canary does between its first pod and its taking over, in this order. A weight that an "
        "approval follows waits for a person; another one for its requests, the last one for proof that the version is "
        "no worse. Absent: the weights 5, 20 and 50.",
        json_schema_extra=list_of("atomic"),
    )
    damage_budget: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None,
        description="So many answers a version that always fails may cost, about, until its requests are taken away "
        "for the first time: Auto chooses its weights by it, and by how many requests there are. Absent: 30.",
    )
    tolerance: Tolerance | None = Field(None, description="How much worse a version may be than stable.")
    bake: Bake | None = Field(None, description="What follows when a version has taken over.")
    deadline: Deadline | None = Field(None, description="The end of a rollout that nothing decides.")
    paused: bool = Field(False, description="While true no other version takes over; what serves goes on.")
    retry_token: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9._-]*$")] = Field(
        "",
        description="Change it to have the address read anew, or to try a rejected revision again.",
    )


class Traffic(Api):
    """How requests reach the pods."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.sticky) || (duration(self.sticky) >= duration('1s') && "
                f"duration(self.sticky) <= duration('{LONGEST_STICKY_SECONDS}s'))",
                "sticky must be between 1s and 720h",
                ".sticky",
            )
        )
    )

    via: core.Via | None = Field(
        None,
        description="Router: through the routers of the namespace, which divide the requests between two versions. "
        "Service: straight to the pods. Absent: the operator's setting.",
    )
    sticky: Annotated[str, Field(max_length=32, pattern=DURATION_PATTERN)] | None = Field(
        None,
        description="How long a client stays with the version that chance gave it, by a cookie; its further requests "
        "are no evidence. Absent: chance decides each time. Needs routers.",
    )


class Spec(Api):
    """What the owner wants."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.traffic.via) || self.traffic.via != 'Service' || !has(self.rollout.strategy) || "
                "self.rollout.strategy == 'Immediate'",
                "a strategy other than Immediate divides requests, which needs a router: write traffic.via: Router",
                ".rollout.strategy",
            )
        )
    )

    owner: Owner = Field(default_factory=Owner, description="Who answers for the model.")
    model: Model = Field(description="What is served.")
    server: Server = Field(default_factory=Server, description="How it is served.")
    scaling: Scaling = Field(default_factory=Scaling, description="How many pods serve it.")
    rollout: Rollout = Field(default_factory=Rollout, description="How another version of it takes over.")
    traffic: Traffic = Field(default_factory=Traffic, description="How requests reach it.")


class Condition(Api):
    """One aspect of the object's state."""

    type: Annotated[str, Field(min_length=1, max_length=64)] = Field(description="Name of the aspect.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: Annotated[str, Field(min_length=1, max_length=128)] = Field(description="Why, in one word.")
    message: Annotated[str, Field(max_length=4096)] = Field("", description="Why, in a sentence.")
    observed_generation: Annotated[int, Field(ge=0)] = Field(description="The generation that this was said of.")
    last_transition_time: Annotated[str, Field(max_length=32)] = Field(
        description="When status last changed.", json_schema_extra={"format": "date-time"}
    )


class Stable(Api):
    """The revision that serves."""

    revision: Annotated[str, Field(max_length=64)] = Field(description="Its hash.")
    since: Annotated[str, Field(max_length=32)] = Field(
        description="When it had taken over completely.", json_schema_extra={"format": "date-time"}
    )


Phase = Annotated[str, Field(max_length=32, pattern=r"^(Idle|Preparing|Step [0-9]{1,2}|Baking|Suspect|RollingBack)$")]
Hash = Annotated[str, Field(max_length=64)]
Time = Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})]
Address = Annotated[str, Field(max_length=2048)]
Digest = Annotated[str, Field(max_length=71)]


class Candidate(Api):
    """The revision that is to take over, and how far it is."""

    revision: Hash = Field(description="Its hash.")
    step: Annotated[int, Field(ge=0, le=MOST_STEPS)] = Field(description="How many steps are behind it.")
    weight: Annotated[int, Field(ge=0, le=WHOLE)] = Field(description="Of 100 requests.")
    since: Time = Field(description="When it began with the step that it is at.")
    began: Time | None = Field(None, description="When its rollout began.")
    reached: Time | None = Field(None, description="Since when every router sends it what its step says.")
    standing: core.Standing = Field(
        core.Standing.TRIED,
        description="Tried; Suspect: its requests spoke against it, and new pods of it are tried; Held: its time is "
        "over; Inconclusive: nothing is heard of its requests.",
    )
    strikes: Annotated[int, Field(ge=0, le=2)] = Field(0, description="How often its requests spoke against it.")
    trial: Annotated[int, Field(ge=1)] = Field(1, description="Which trial it is in.")
    ramp: Annotated[list[Annotated[int, Field(ge=1, le=WHOLE)]], Field(max_length=MOST_STEPS)] = Field(
        default_factory=list,
        description="The weights that were chosen for it, by Auto.",
        json_schema_extra=list_of("atomic"),
    )
    passed: bool = Field(False, description="Whether its last step is behind it, by proof or by a person.")


class Baking(Api):
    """The version that was stable before, while what has taken over is still compared with it."""

    revision: Hash = Field(description="Its hash.")
    since: Time = Field(description="When the other one had taken over.")
    strikes: Annotated[int, Field(ge=0, le=2)] = Field(0, description="Of what is stable now.")
    trial: Annotated[int, Field(ge=1)] = Field(1, description="Which trial that is in.")
    began: Time | None = Field(None, description="When the rollout of what is stable now began.")


class NextCheck(Api):
    """When a step will have seen enough, if requests go on as they did: what to expect, and no promise."""

    at: Time = Field(description="When, about.")
    requests: Annotated[int, Field(ge=0)] = Field(description="So many more requests of the candidate's until then.")
    as_of: Time = Field(description="When that was calculated; it is said anew where it is far off, and does not tick.")


class Resolved(Api):
    """What an address without a digest held when it was read."""

    request: Hash = Field(description="Hash of the address and the retry token that this answers.")
    uri: Address = Field(description="The address.")
    digest: Digest = Field(description="Digest of the bundle's manifest.")


class Rejected(Api):
    """A revision that is not served again."""

    revision: Hash = Field(description="Its hash.")
    retry_token: Annotated[str, Field(max_length=64)] = Field("", description="The retry token it was rejected under.")


class Answer(Api):
    """What became of the last action that a person asked for."""

    id: Annotated[str, Field(max_length=64)] = Field(description="The action's id.")
    verb: Annotated[str, Field(max_length=64)] = Field("", description="What was asked for.")
    outcome: Outcome = Field(description="Obeyed, Refused, or Ignored because it was there before the operator.")
    message: Annotated[str, Field(max_length=4096)] = Field("", description="What follows from it, or why not.")


class Count(Api):
    """Requests of one version."""

    requests: Annotated[int, Field(ge=0)] = Field(0, description="Those that chance gave to it.")
    events: Annotated[int, Field(ge=0)] = Field(0, description="Those of them at which it happened.")


class Counted(Api):
    """One signal of a trial."""

    tried: Count = Field(default_factory=Count, description="Of the version under trial.")
    against: Count = Field(default_factory=Count, description="Of the other one, in the same seconds.")
    harm: float = Field(0, description="Logarithm of the evidence that the version does harm.")
    proof: float = Field(0, description="Logarithm of the evidence that the version is no worse.")


class Limits(Api):
    """How much evidence is enough."""

    harm: float = Field(description="From this logarithm on it is a strike.")
    proof: float = Field(description="From this logarithm on it is proven.")


class Numbers(Api):
    """What the trial had counted when the decision was made: it can be calculated again from the trial's record."""

    revision: Hash = Field(description="The version under trial.")
    against: Hash = Field(description="The version that it is compared with.")
    trial: Annotated[int, Field(ge=1)] = Field(description="Which trial of the version that is.")
    weight: Annotated[int, Field(ge=0, le=WHOLE)] = Field(description="Of 100 requests, the last that it had.")
    errors: Counted = Field(description="Requests whose first attempt did not end with 2xx in time.")
    slow: Counted = Field(description="Answers slower than nearly all of the other version's.")
    limits: Limits = Field(description="How much evidence is enough.")
    entries: Annotated[int, Field(ge=0)] = Field(description="How many entries the trial's record had.")
    open: Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=8)] = Field(
        default_factory=list,
        description="What was counted and not entered yet: signal, largest and smallest weight, requests and events "
        "of the version under trial, requests and events of the other one.",
        json_schema_extra=list_of("atomic"),
    )


class Decision(Api):
    """One decision about a revision."""

    at: Time = Field(description="When.")
    what: Annotated[str, Field(max_length=64)] = Field(
        description="Rollout, Ramp, Step, Approve, Promote, Abort, Promoted, Strike, Held, Inconclusive, Again, "
        "Rollback, RollbackImpossible, Pause or Resume."
    )
    revision: Hash = Field("", description="About which revision.")
    by: Annotated[str, Field(max_length=253)] = Field("", description="Who decided; tidegate for the operator.")
    why: Annotated[str, Field(max_length=2048)] = Field("", description="Why.")
    numbers: Numbers | None = Field(None, description="What the trial had counted; absent where none was on.")


class Share(Api):
    """The version in a slot."""

    revision: Hash = Field(description="Its hash.")
    weight: Annotated[int, Field(ge=0, le=WHOLE)] = Field(0, description="Of 100 requests.")


class Slots(Api):
    """The places for versions."""

    a: Share | None = Field(None, description="Shares the requests with b.")
    b: Share | None = Field(None, description="Shares the requests with a.")
    shadow: Share | None = Field(None, description="Is sent copies; nobody sees its answers.")


class Route(Api):
    """What the routers of the namespace read."""

    port: Annotated[int, Field(ge=FIRST_PORT, le=LAST_PORT)] = Field(description="Of the listener in each router.")
    generation: Annotated[int, Field(ge=1)] = Field(description="Rises by one with every change.")
    stable: Literal["a", "b"] = Field(description="The slot of the stable version.")
    slots: Slots = Field(description="The versions, and their weights.")
    timeout_seconds: Annotated[float, Field(ge=0.001, le=LONGEST_SECONDS)] = Field(
        10, description="The longest deadline of the versions."
    )
    sticky_seconds: Annotated[int, Field(ge=0, le=LONGEST_STICKY_SECONDS)] = Field(
        0, description="How long a client stays with the version that chance gave it; 0: not at all."
    )
    tolerance_errors: Annotated[float, Field(ge=0.00001, le=0.5)] = Field(
        0.01, description="How many more of its answers may fail than of stable's: above that a router ends it itself."
    )


class Status(Api):
    """What the operator found and did."""

    observed_generation: Annotated[int, Field(ge=0)] | None = Field(
        None, description="The generation of spec that the operator has seen."
    )
    phase: Phase | None = Field(None, description="A summary; the conditions are the source.")
    url: Annotated[str, Field(max_length=512)] | None = Field(
        None, description="Where the model answers, inside the cluster."
    )
    revision: Hash | None = Field(None, description="The revision that serves, or is on its way to.")
    stable: Stable | None = Field(None, description="The revision that serves.")
    candidate: Candidate | None = Field(None, description="The revision that is to take over step by step.")
    baking: Baking | None = Field(None, description="What stable is still compared with.")
    next_check: NextCheck | None = Field(None, description="When the candidate's step will have seen enough.")
    route: Route | None = Field(None, description="How routers divide the requests.")
    resolved: Resolved | None = Field(None, description="What the address held, where spec gives no digest.")
    rejected: Annotated[list[Rejected], Field(max_length=32)] = Field(
        default_factory=list, description="Revisions that are not served again.", json_schema_extra=list_of("atomic")
    )
    paused: bool | None = Field(None, description="Whether a person has paused the rollout.")
    action: Answer | None = Field(None, description="What became of the last action.")
    decisions: Annotated[list[Decision], Field(max_length=20)] = Field(
        default_factory=list, description="The last decisions, oldest first.", json_schema_extra=list_of("atomic")
    )
    replicas: Annotated[int, Field(ge=0)] | None = Field(None, description="The number of pods that is wanted.")
    selector: Annotated[str, Field(max_length=512)] | None = Field(
        None, description="Selects the serving pods, for autoscalers."
    )
    conditions: Annotated[list[Condition], Field(max_length=32)] = Field(
        default_factory=list,
        description="The aspects of the object's state.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )


class ModelDeployment(Api):
    """A model that is served."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')",
                "the name becomes the name of a Service: at most 40 characters, lower case letters, digits and "
                "dashes, starting with a letter",
            ),
            rule(
                "self.metadata.name != 'tidegate-router'",
                "tidegate-router is what the routers of the namespace are called: give the model another name",
            ),
        )
    )

    spec: Spec = Field(description="What the owner wants.")
    status: Status | None = Field(None, description="What the operator found and did.")


class RevisionAmounts(Api):
    """CPU and memory as the revision has them."""

    requests: Annotated[dict[str, ShortText], Field(max_length=8)] = Field(
        default_factory=dict, description="What the scheduler sets aside."
    )
    limits: Annotated[dict[str, ShortText], Field(max_length=8)] = Field(
        default_factory=dict, description="What the kernel enforces."
    )


class Card(Api):
    """What the bundle said of itself when it was read; it outlives the bundle."""

    name: ShortText = Field("", description="The bundle's own name.")
    format: ShortText = Field("", description="How the model is stored.")
    model: ShortText = Field("", description="The class of the model.")
    python: ShortText = Field("", description="The Python that it was made with.")
    libraries: Annotated[dict[str, ShortText], Field(max_length=64)] = Field(
        default_factory=dict, description="The libraries that it was made with."
    )
    metrics: Annotated[dict[str, float], Field(max_length=64)] = Field(
        default_factory=dict, description="How it did on held-out data."
    )
    data: ShortText = Field("", description="What it was made from.")
    commit: ShortText = Field("", description="Commit of the code that trained it.")
    run: ShortText = Field("", description="Run that trained it.")
    author: ShortText = Field("", description="Whose it is.")
    created: ShortText = Field("", description="When it was packed.")


class RevisionSpec(Api):
    """A version of a model, whole: everything that can change an answer, and the keys that fetch it."""

    model_config = ConfigDict(
        json_schema_extra=rules(rule("self == oldSelf", "a revision never changes; make another one"))
    )

    model: Name = Field(description="The ModelDeployment that it is a version of.")
    revision: Hash = Field(description="Hash of everything that can change an answer.")
    request: Hash = Field("", description="Hash of the address and retry token whose answer the digest is.")
    uri: Address = Field(description="Address of the bundle.")
    digest: Digest = Field(description="Digest of the bundle's manifest.")
    allow_pickle: bool = Field(False, description="Whether a model that runs code of its author is loaded.")
    image: Annotated[str, Field(max_length=512)] = Field(description="Image of the model server.")
    image_named: bool = Field(False, description="Whether spec named it; else the operator's release gave it.")
    tools: Annotated[str, Field(max_length=512)] = Field("", description="Image of the fetcher.")
    resources: RevisionAmounts = Field(default_factory=RevisionAmounts, description="CPU and memory of one pod.")
    timeout_seconds: Annotated[float, Field(ge=0)] = Field(10.0, description="Deadline of one request.")
    env: Annotated[list[Variable], Field(max_length=64)] = Field(
        default_factory=list, description="Environment of the model server.", json_schema_extra=list_of("atomic")
    )
    secret_name: ShortText = Field("", description="Secret with the credentials of an https address.")
    image_pull_secrets: Annotated[list[ShortText], Field(max_length=8)] = Field(
        default_factory=list, description="Credentials for images.", json_schema_extra=list_of("atomic")
    )
    card: Card = Field(default_factory=Card, description="What the bundle said of itself.")


class Verdict(Api):
    """How a revision's time ended."""

    result: Annotated[str, Field(max_length=64)] = Field(description="Rejected.")
    reason: Annotated[str, Field(max_length=4096)] = Field("", description="Why.")
    at: Time = Field(description="When.")
    retry_token: Annotated[str, Field(max_length=64)] = Field("", description="The retry token it was rejected under.")


class Record(Api):
    """What happened to a revision."""

    role: core.Role = Field(description="What it is to its model.")
    since: Time = Field(description="Since when.")
    verdict: Verdict | None = Field(None, description="How its time ended.")
    decisions: Annotated[list[Decision], Field(max_length=20)] = Field(
        default_factory=list,
        description="The last decisions about it, oldest first.",
        json_schema_extra=list_of("atomic"),
    )
    served: bool = Field(False, description="Whether it has ever been stable.")
    orphaned: Time | None = Field(None, description="When its ModelDeployment was found gone.")


class KeptTrial(Api):
    """What the requests of one trial have said, so that it can be gone on with, and calculated again."""

    number: Annotated[int, Field(ge=1)] = Field(description="Which trial of this version it is.")
    against: Hash = Field(description="The version that it was compared with.")
    kept: Annotated[str, Field(max_length=262144)] = Field(
        description="Every count of it: JSON, compressed by zlib, in base64."
    )


class ModelRevision(Api):
    """A version of a model. Made by the operator; it outlives its ModelDeployment by a day, and any backup."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.metadata.name == self.spec.model + '-' + self.spec.revision",
                "a revision is called after its model and itself: MODEL-REVISION",
            )
        )
    )

    spec: RevisionSpec = Field(description="The version; it never changes.")
    record: Record = Field(description="What happened to it.")
    trials: Annotated[list[KeptTrial], Field(max_length=4)] = Field(
        default_factory=list,
        description="Its last trials.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["number"]},
    )


class SpecError(ValueError):
    """A spec that the schema let pass and that means nothing; the message is fit for a condition."""


def parse(spec: dict[str, Any], via: core.Via = core.Via.SERVICE) -> core.Desired:
    """The spec of a stored object as the core's frozen type; `via` is the operator's setting, for a spec without one.

    Raises SpecError with one sentence a field that is wrong.
    """
    try:
        parsed = Spec.model_validate(spec)
        origin = source.parse(parsed.model.uri)
    except ValidationError as error:
        found = "; ".join(f"spec.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SpecError(found) from error
    except source.SourceError as error:
        raise SpecError(f"spec.model.uri: {error}") from error
    server, template, rollout = parsed.server, parsed.server.template, parsed.rollout
    via = parsed.traffic.via or via
    strategy = rollout.strategy or core.Strategy.IMMEDIATE
    tolerance, deadline = rollout.tolerance or Tolerance(), rollout.deadline or Deadline()
    if strategy != core.Strategy.IMMEDIATE and via != core.Via.ROUTER:
        raise SpecError(
            f"spec.rollout.strategy: {strategy} divides requests, which needs spec.traffic.via Router; "
            "write that, or strategy Immediate"
        )
    if parsed.traffic.sticky and via != core.Via.ROUTER:
        raise SpecError(
            "spec.traffic.sticky: only routers divide requests: write spec.traffic.via Router, or leave it out"
        )
    return core.Desired(
        content=core.Content(
            uri=parsed.model.uri,
            source=origin,
            digest=parsed.model.digest,
            image=server.image,
            allow_pickle=parsed.model.allow_pickle,
            requests=_amounts(server.resources.requests),
            limits=_amounts(server.resources.limits),
            timeout=seconds(server.slo.timeout),
            env=tuple((variable.name, variable.value) for variable in template.env),
            secret_name=parsed.model.secret_name,
            pull_secrets=tuple(secret.name for secret in template.image_pull_secrets),
        ),
        node_selector=tuple(sorted(template.node_selector.items())),
        tolerations=tuple(
            core.Toleration(t.key, t.operator, t.value, t.effect, t.toleration_seconds) for t in template.tolerations
        ),
        replicas=parsed.scaling.replicas,
        paused=rollout.paused,
        retry_token=rollout.retry_token,
        owner=core.Owner(parsed.owner.team, parsed.owner.contact, parsed.owner.runbook),
        via=via,
        strategy=strategy,
        sticky=round(seconds(parsed.traffic.sticky)) if parsed.traffic.sticky else 0,
        steps=tuple(step.meant for step in rollout.steps) if rollout.steps else STEPS[strategy],
        budget=(rollout.damage_budget or DAMAGE_BUDGET) if strategy is core.Strategy.AUTO else None,
        tolerance=core.Tolerance(_share(tolerance.errors), _share(tolerance.slow)),
        bake=None if strategy is core.Strategy.IMMEDIATE else _bake(rollout.bake or Bake()),
        deadline=core.Deadline(seconds(deadline.after), deadline.then),
    )


def _bake(bake: Bake) -> core.Bake | None:
    lasts = seconds(bake.duration)
    return core.Bake(lasts, bake.holdback) if lasts else None


def _share(percent: str) -> float:
    """Of 1.

    >>> _share("0.5%")
    0.005
    """
    return float(percent.removesuffix("%")) / 100


def _amounts(amounts: Amounts) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in (("cpu", amounts.cpu), ("memory", amounts.memory)) if value)

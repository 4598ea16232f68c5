"""Labels and annotations. All of them live under one domain, so that one prefix finds everything of ours."""

DOMAIN = "models.tidegate.dev"

MODEL = f"{DOMAIN}/model"
"""Label: the name of the ModelDeployment that an object belongs to."""

REVISION = f"{DOMAIN}/revision"
"""Label of a pod: the hash of everything that can change an answer."""

COMPONENT = f"{DOMAIN}/component"
"""Label of a pod: what runs in it, one of those below."""
SERVER = "server"
RESOLVER = "resolver"
ROUTER = "router"

REQUEST = f"{DOMAIN}/request"
"""Label of a resolver and its pod: the question that it answers."""

APPLIED = f"{DOMAIN}/applied"
"""Annotation of a child: the hash of the intent that was applied last."""

ADDRESS = f"{DOMAIN}/address"
"""Annotation of the operator's Lease: where the process that holds it is asked what it counts."""

"""An environment for KServe's own client, which wants another pandas and a dozen packages more than we do.

    python -m kserve_environment

Beside the other tools in the cache, under a name that carries a hash of what made it.
"""

import hashlib
import os
import sys
from pathlib import Path

from cluster.layout import Cache
from cluster.shell import locked, run

REQUIREMENTS = Path(__file__).parents[1] / "requirements" / "kserve.txt"
POSSIBLE = sys.version_info < (3, 14)
"""Whether kserve can be installed beside this Python."""


def python(cache: Cache) -> Path:
    """The environment's Python; made if it is not there. Raises ClusterError if that fails."""
    made_of = f"{sys.version} {sys.base_prefix}\n{REQUIREMENTS.read_text()}"
    folder = cache.root / f"kserve-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"
    program, installed = folder / "bin" / "python", folder / "installed"
    uv = Path(sys.executable).with_name("uv")
    with locked(cache.locks / "kserve"):
        if not installed.exists():
            run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder])
            run([uv, "pip", "sync", "--quiet", "--python", program, "--require-hashes", REQUIREMENTS])
            installed.touch()
    return program


if __name__ == "__main__" and POSSIBLE:
    python(Cache.from_environment(os.environ))

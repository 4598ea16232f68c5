"""manifests/install.yaml: the chart's own templates, for people who use kubectl alone.

    python3 manifests/render.py             write install.yaml, with a placeholder for the registry
    python3 manifests/render.py --check     say whether the committed file is current
    python3 manifests/render.py --registry HOST/PATH --tag TAG | kubectl apply --server-side -f -

Needs helm: from $HELM, from .cluster/bin (`make cluster` or `make tools` puts it there) or from PATH.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
CHART = CHECKOUT / "charts" / "tidegate"
TARGET = CHECKOUT / "manifests" / "install.yaml"
NAMESPACE = "tidegate-system"
# No resolver answers it (RFC 2606): a forgotten registry is an image that cannot be pulled, never a stranger's.
PLACEHOLDER = "registry.invalid/tidegate"
# Said, because helm asks no cluster here and would assume a version.
KUBERNETES = "1.37.0"

HEAD = f"""\
# Tidegate with kubectl alone. Generated from charts/tidegate by `make generate`; do not edit.
#
# Say where your images are (`make images CLUSTER=current REGISTRY=...` builds and pushes them, and prints their tag):
#
#   python3 manifests/render.py --registry HOST/PATH --tag TAG | kubectl apply --server-side -f -
#
# or without helm, for the tag {{version}}:
#
#   sed 's#{PLACEHOLDER}#HOST/PATH#' manifests/install.yaml | kubectl apply --server-side -f -
#
# To take the operator away and leave the models serving, delete everything here except the CustomResourceDefinitions,
# the ClusterRole tidegate-router and the Namespace.
"""

SPACE = f"""\
---
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    app.kubernetes.io/part-of: tidegate
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/warn: restricted
    pod-security.kubernetes.io/audit: restricted
"""


def find_helm() -> str:
    """Raises SystemExit, in words, where there is no helm."""
    for found in (os.environ.get("HELM"), CHECKOUT / ".cluster" / "bin" / "helm", shutil.which("helm")):
        if found and Path(found).exists():
            return str(found)
    raise SystemExit("There is no helm here: `make tools` and `make cluster` put one at .cluster/bin/helm.")


def render(registry: str, tag: str | None = None) -> str:
    command = [find_helm(), "template", "tidegate", str(CHART), "--namespace", NAMESPACE]
    command += ["--kube-version", KUBERNETES, "--set-string", f"image.registry={registry}"]
    command += ["--set-string", f"image.tag={tag}"] if tag else []
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own arguments
    if done.returncode:
        raise SystemExit(done.stderr)
    version = re.search(r'^appVersion: "(.*)"$', (CHART / "Chart.yaml").read_text(), re.MULTILINE)
    if not version:
        raise SystemExit(f"{CHART / 'Chart.yaml'} has no appVersion.")
    # What kubectl applies is not managed by Helm, and must not say so.
    body = re.sub(r"^ *app.kubernetes.io/managed-by: Helm\n", "", done.stdout, flags=re.MULTILINE)
    return HEAD.format(version=version[1]) + SPACE + body


def main() -> int:
    parser = argparse.ArgumentParser(description="Render manifests/install.yaml from the chart.")
    parser.add_argument("--check", action="store_true", help="compare with the committed file; exit 1 if it is stale")
    parser.add_argument("--registry", help="host and path of your images; prints instead of writing the file")
    parser.add_argument("--tag", help="tag of your images; the chart's appVersion if not given")
    args = parser.parse_args()
    if args.registry:
        sys.stdout.write(render(args.registry, args.tag))
        return 0
    text = render(PLACEHOLDER)
    if not args.check:
        TARGET.write_text(text)
        return 0
    if TARGET.exists() and TARGET.read_text() == text:
        return 0
    sys.stderr.write("manifests/install.yaml is not what charts/tidegate renders; run `python3 manifests/render.py`.\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

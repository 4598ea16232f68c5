"""The command line: `PYTHONPATH=tests python3 -m images build`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cluster.steps import ClusterError, Steps

from . import local, remote
from .content import IMAGES, LOCAL_REGISTRY, tag

CHECKOUT = Path(__file__).resolve().parents[2]


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python3 -m images", description="The images of the operator and of the models' pods."
    )
    commands = top.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build what is missing, and bring it to where it runs")
    show = commands.add_parser("tag", help="print the tag of this checkout's images")
    names = commands.add_parser("list", help="print the full names of this checkout's images")
    commands.add_parser("envoy", help="print the full name that Envoy has in the cluster of `make cluster`")
    for command in (build, show, names):
        command.add_argument(
            "--cluster",
            choices=("local", "current"),
            default="local",
            help="the cluster of `make cluster` (default), or another one by way of an engine and a registry",
        )
    for command in (build, names):
        command.add_argument("--registry", help="host and path in front of the names, for --cluster current")
    build.add_argument("--engine", choices=remote.ENGINES, help="what builds; default: the first of them that works")
    build.add_argument("--push", action="store_true", help="push to --registry")
    build.add_argument("--plain-http", action="store_true", help="--registry has no TLS")
    return top


def main() -> int:
    args = parser().parse_args()
    if args.command == "envoy":
        print(local.ENVOY_REFERENCE)
        return 0
    is_local = args.cluster == "local"
    try:
        if args.command == "build" and is_local:
            if args.registry or args.engine or args.push:
                raise ClusterError("--registry, --engine and --push belong to --cluster current.")
            local.build(CHECKOUT, Steps())
        elif args.command == "build":
            remote.build(CHECKOUT, args.registry, args.engine, args.push, Steps(), plain_http=args.plain_http)
        else:
            name = tag(CHECKOUT, local.build_settings(CHECKOUT)["BASE_IMAGE"] if is_local else None)
            if args.command == "tag":
                print(name)
            else:
                for image in IMAGES:
                    print(image.reference(args.registry or LOCAL_REGISTRY, name))
    except ClusterError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("images: interrupted; the next run goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

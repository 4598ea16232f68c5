"""The command line: `PYTHONPATH=tests python3 -m cluster up`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from . import cgroups, lifecycle, preflight, slots, supervisor, teardown, tools
from .layout import SLOTS, Cache, Slot
from .steps import ClusterError, Steps


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python3 -m cluster", description="A real Kubernetes without a container engine."
    )
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="install, build and start what is missing; returns at once when the cluster runs")
    commands.add_parser("down", help="end the cluster and everything of it but its logs")
    commands.add_parser("status", help="say whether the cluster runs, and its components; exits 1 when it does not")
    commands.add_parser("prepare", help="install and build everything, start nothing")
    commands.add_parser("tools", help="put kubectl and helm into .cluster/bin, nothing else")
    commands.add_parser("venv", help="make the checkout's Python environment .venv, empty, unless it is there")
    commands.add_parser("base", help="build the base image of our containers, nothing else")
    env = commands.add_parser("env", help="print the cluster's addresses and folders as KEY=value")
    env.add_argument("--export", action="store_true", help="as lines for a shell's eval, with PATH")
    env.add_argument("--build-only", action="store_true", help="only what building images needs (no cluster needed)")
    images = commands.add_parser("images-import", help="give images to the node")
    images.add_argument("archives", nargs="+", type=Path, metavar="FILE", help="an OCI archive")
    commands.add_parser("leftovers", help="list what is left of this checkout's cluster; exits 1 if anything is")
    init = commands.add_parser("init")  # started by `up`, inside the namespaces
    init.add_argument("--slot", type=int, required=True)
    return top


def main() -> int:
    args = parser().parse_args()
    os.environ["PATH"] = tools.search_path()
    cache, steps = Cache.from_environment(os.environ), Steps()
    try:
        if args.command == "init":
            supervisor.main(Slot(args.slot, lifecycle.CHECKOUT))
        if args.command == "env":
            return show_environment(cache, export=args.export, build_only=args.build_only)
        if args.command == "tools":
            lifecycle.install_clients(cache, steps)
            return 0
        if args.command == "venv":
            tools.make_environment(cache, lifecycle.CHECKOUT / ".venv")
            return 0
        preflight.check_root()
        if args.command == "up":
            lifecycle.up(cache, steps)
        elif args.command == "down":
            lifecycle.down(steps)
        elif args.command == "prepare":
            lifecycle.prepare(cache, steps)
        elif args.command == "base":
            lifecycle.build_base(cache, steps)
        elif args.command == "status":
            return show_status()
        elif args.command == "leftovers":
            return show_leftovers()
        elif args.command == "images-import":
            slot = lifecycle.current_slot()
            for archive in args.archives:
                with steps.step(f"import {archive.name}"):
                    lifecycle.images_import(slot, cache, [archive])
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    except PermissionError as error:
        print(f"cluster: {error.filename} is not yours to write ({error.strerror}).", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cluster: interrupted; the next run goes on from here.", file=sys.stderr)
        return 130
    return 0


def show_environment(cache: Cache, *, export: bool, build_only: bool) -> int:
    values = lifecycle.build_environment(cache)
    if not build_only:
        slot = lifecycle.current_slot()
        values = lifecycle.environment(slot, cache) | values
        if export:
            print(f'export PATH={shlex.quote(str(slot.bin))}:"$PATH"')
    for key, value in values.items():
        print(f"export {key}={shlex.quote(value)}" if export else f"{key}={value}")
    return 0


def show_status() -> int:
    slot = slots.find(lifecycle.CHECKOUT)
    if not slot:
        print("This checkout has no cluster.")
        return 1
    healthy = lifecycle.is_healthy(slot)
    print(f"{slot.name}: {'running' if healthy else 'not running'}, {len(cgroups.processes(slot.name))} processes")
    return 0 if healthy else 1


def show_leftovers() -> int:
    """Of this checkout's slot, else of every slot that nobody holds: a slot is freed by `down`."""
    held = slots.taken()
    slot = slots.find(lifecycle.CHECKOUT)
    looked_at = [slot] if slot else [Slot(n, lifecycle.CHECKOUT) for n in SLOTS if n not in held]
    found = [line for each in looked_at for line in teardown.leftovers(each)]
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""`tidegate`: from a trained model to one that serves, a look at what serves, and a hand on it.

Every command imports what it needs when it runs: `tidegate --help` must not wait for
scikit-learn.
"""

import click

from tidegate_cli.act import abort, approve, pause, promote, resume, rollback
from tidegate_cli.check import check
from tidegate_cli.compare import compare
from tidegate_cli.history import history
from tidegate_cli.inspect import inspect
from tidegate_cli.pack import pack
from tidegate_cli.push import push
from tidegate_cli.replay import replay
from tidegate_cli.serve import serve
from tidegate_cli.status import status
from tidegate_cli.wait import wait


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="tidegate", prog_name="tidegate")
def main() -> None:
    """Serve machine-learning models on Kubernetes.

    \b
    tidegate check train.parquet --target late
    tidegate pack model.skops --data train.parquet --target late -o bundle/
    tidegate compare old-bundle/ bundle/ --data held-out.parquet --target late
    tidegate serve bundle/
    tidegate push bundle/ registry.example.com/models/flights:1
    tidegate status flights --watch
    tidegate wait flights --timeout 1h
    tidegate replay flights
    tidegate approve flights --reason 'an hour without an error'
    tidegate rollback flights --reason 'late by an hour'

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bundle refused. `tidegate wait` has its own: see its help.
    """


for command in (
    *(check, pack, inspect, compare, serve, push),
    *(status, wait, history, replay),
    *(approve, promote, abort, pause, resume, rollback),
):
    main.add_command(command)


if __name__ == "__main__":
    main()

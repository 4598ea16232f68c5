"""`tidegate push`."""

import sys
from pathlib import Path

import click

from tidegate_cli.errors import explained
from tidegate_cli.progress import steps


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("reference", metavar="REF")
@click.option("--plain-http", is_flag=True, help="The registry has no TLS.")
@click.option("--username", help="User of the registry.  [default: docker's stored login]")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def push(bundle: Path, reference: str, plain_http: bool, username: str | None, password_stdin: bool) -> None:
    """Push BUNDLE as an image to REF: REGISTRY/NAME:TAG or oci-archive:FILE[:TAG].

    Prints what to write into spec.model.uri and spec.model.digest; of a file, which no ModelDeployment can name, the
    archive and the digest.
    """
    if password_stdin != (username is not None):
        raise click.UsageError("--username and --password-stdin go together")
    password = sys.stdin.readline().rstrip("\n") if password_stdin else ""
    with explained(), steps("loading libraries") as progress:
        from tidegate_server.offline.push import ARCHIVE_PREFIX
        from tidegate_server.offline.push import push as push_bundle
        from tidegate_server.offline.registry import Login

        login = Login(username, password) if username is not None else None
        pushed = push_bundle(bundle, reference, plain_http=plain_http, login=login, progress=progress)
    click.echo(f"archive: {reference}" if reference.startswith(ARCHIVE_PREFIX) else f"uri: {pushed.uri}")
    click.echo(f"digest: {pushed.bundle_digest}")

"""`tidegate serve`."""

import logging
import os
import sys
from pathlib import Path

import click

from tidegate_cli.errors import explained


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--allow-pickle", is_flag=True, help="Serve a bundle that runs code: a .joblib model, a class.")
def serve(bundle: Path, port: int, host: str, allow_pickle: bool) -> None:
    """Serve BUNDLE on this machine, without a cluster, exactly as a pod would."""
    from tidegate_server.threads import limit_threads

    limit_threads(os.environ)
    with explained():
        from tidegate_cli.example import curl
        from tidegate_contract.failure import BundleError
        from tidegate_contract.logs import configure
        from tidegate_server.http.state import Serving
        from tidegate_server.serve import leave
        from tidegate_server.serve import serve as serve_bundle
        from tidegate_server.settings import Settings

        configure(logging.CRITICAL if sys.stderr.isatty() else logging.INFO)

        def announce(serving: Serving) -> None:
            click.echo(
                f"{serving.model} is ready ({serving.digest}). Try:\n\n{curl(serving.manifest, serving.model, port)}\n"
            )

        click.echo(f"loading {bundle} on port {port}; Ctrl-C ends it")
        settings = Settings(
            bundle_dir=bundle, allow_pickle=allow_pickle, host=host, http_port=port, metrics_port=0, drain_seconds=0
        )
        outcome = serve_bundle(settings, announce)
        if outcome.failure is not None:
            raise BundleError(outcome.failure.reason, outcome.failure.message)
    if outcome.exit_code:
        raise click.ClickException("the server stopped on an error")
    leave(0)

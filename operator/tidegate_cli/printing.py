"""What a command prints for a program."""

import click


def print_json(value: object) -> None:
    """Anything that msgspec can encode, indented for people who look all the same."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())

"""What a command prints for a program, or into a log."""

import re

import click


def print_json(value: object) -> None:
    """Anything that msgspec can encode, indented for people who look all the same."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def gist(line: str) -> str:
    """A line without its numbers: one that only counts on is no change.

    >>> gist("20 requests, it had 13.5 of abc123, at 12:30:11") == gist("20 requests, it had 7 of abc123, at 2:30:11")
    True
    """
    return re.sub(r"\b[\d.,:]*\d\b", "#", line)


def entries(number: int) -> str:
    """Of a trial's record.

    >>> entries(1), entries(4000)
    ('1 entry', '4,000 entries')
    """
    return f"{number:,} {'entry' if number == 1 else 'entries'}"

"""Progress of long work, on stderr, so that a pipe on stdout gets the result only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def steps(first: str) -> Iterator[Callable[[str], None]]:
    """A spinner with the step that is under way; one line a step where nobody watches."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step: console.print(f"{step} ...", style="dim", markup=False)
        return
    with console.status(f"{first} ...") as status:
        yield lambda step: status.update(escape(f"{step} ..."))

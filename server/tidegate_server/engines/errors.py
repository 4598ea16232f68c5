"""What keeps a compiled engine from being used; the original model then answers instead."""


class EngineError(ValueError):
    """A compiled file that cannot be meant; the message says what is wrong with it."""


def one_line(error: Exception) -> str:
    """What a library said, as a sentence's end.

    >>> one_line(ValueError("not\\n  a model"))
    'ValueError: not a model'
    """
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]

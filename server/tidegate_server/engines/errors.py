"""What keeps a compiled engine from being used; the original model then answers instead."""


class EngineError(ValueError):
    """A compiled file that cannot be meant; the message says what is wrong with it."""

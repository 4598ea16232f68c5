"""What a user of the offline tools can put right; the message is a sentence that says how."""


class OfflineError(Exception):
    """Base of

    PackError       a bundle that cannot be written where it should be
    ModelError      a model that cannot be packed
    CompareError    two models that cannot be compared on this data
    TableError      data that no signature can be made of
    RegistryError   a registry that did not take the image
    """


class PackError(OfflineError):
    """A bundle that cannot be written where it should be."""


class ModelError(OfflineError):
    """A model that cannot be packed."""


class CompareError(OfflineError):
    """Two models that cannot be compared on this data."""


class TableError(OfflineError):
    """Data that no signature can be made of."""


class RegistryError(OfflineError):
    """A registry that did not take the image."""

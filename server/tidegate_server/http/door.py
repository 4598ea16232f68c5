"""Rows that the manifest says must not reach the model: values that its reference did not have, in strict columns.

Elsewhere such values are counted and answered: a model that meets a new category must still say something.
"""

from collections.abc import Sequence

import numpy as np

from tidegate_contract.bundle.manifest import Signature
from tidegate_contract.profile import Column, Numeric, Profile
from tidegate_server.http.errors import OipError
from tidegate_server.tensors import Table


class Door:
    """The strict columns of one model."""

    def __init__(self, profile: Profile, signature: Signature, strict: Sequence[str]) -> None:
        """Columns that the profile does not have let everything through."""
        dtypes = {spec.name: spec.datatype.dtype for spec in signature.inputs}
        self._columns = [(column, dtypes[name]) for name in strict if (column := profile.feature(name)) is not None]

    def check(self, table: Table) -> None:
        """Raises OipError 400 for the first value that must not come in; it says where, and what may."""
        for column, dtype in self._columns:
            codes = column.codes(np.asarray(table[column.name], dtype))
            refused = codes == column.invalid_code
            if not column.missing:
                refused |= codes == column.missing_code
            if bool(refused.any()):
                row = int(np.argmax(refused))
                missing = codes[row] == column.missing_code
                why = _why(column, missing=bool(missing))
                raise OipError(400, f"input {column.name!r}, row {row}: {why}", kind="strict", column=column.name)


def _why(column: Column, *, missing: bool) -> str:
    if missing:
        return "a value is missing, and the model was made with none missing; fill it in, or leave the row out"
    if isinstance(column, Numeric):
        valid = f"{column.low:g} to {column.high:g}"
        return f"a number outside {valid}, for which the model was made; check its unit, or leave the row out"
    return "a value that the model has never seen; check its spelling, or leave the row out"

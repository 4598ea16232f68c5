"""The examples in the docstrings are right."""

import doctest
import importlib
import pkgutil

import pytest

import tidegate_server

MODULES = [
    module.name
    for module in pkgutil.walk_packages(tidegate_server.__path__, "tidegate_server.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0

"""The examples in the docstrings are right."""

import doctest
import importlib
import pkgutil

import pytest

import tidegate_contract

MODULES = [module.name for module in pkgutil.walk_packages(tidegate_contract.__path__, "tidegate_contract.")]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0

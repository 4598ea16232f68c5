"""The examples in docstrings are tests."""

import doctest
import importlib
import pkgutil

import pytest

import tidegate_cli
import tidegate_cluster
import tidegate_contract
import tidegate_operator
import tidegate_router
import tidegate_server

PACKAGES = (tidegate_cli, tidegate_cluster, tidegate_contract, tidegate_operator, tidegate_router, tidegate_server)

MODULES = sorted(
    module.name
    for package in PACKAGES
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples_at_all() -> None:
    assert sum(doctest.testmod(importlib.import_module(name)).attempted for name in MODULES) > 20

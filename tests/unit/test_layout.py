"""The floor plan as tests: who may import whom, and the traps of this layout."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "tidegate_operator": ROOT / "operator/tidegate_operator",
    "tidegate_cli": ROOT / "operator/tidegate_cli",
    "tidegate_server": ROOT / "server/tidegate_server",
    "tidegate_router": ROOT / "server/tidegate_router",
    "tidegate_cluster": ROOT / "server/tidegate_cluster",
    "tidegate_contract": ROOT / "server/tidegate_contract",
}
STANDARD = sys.stdlib_module_names


def imports(file: Path) -> set[str]:
    """Every module that a file imports anywhere in it, as full names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            found.add(node.module or "")
    return found


def roots(modules: set[str]) -> set[str]:
    return {module.split(".")[0] for module in modules}


def files(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("tidegate_operator", {"tidegate_contract", "tidegate_cluster"}),
        ("tidegate_server", {"tidegate_contract"}),
        ("tidegate_router", {"tidegate_contract", "tidegate_cluster"}),
        ("tidegate_cluster", {"tidegate_contract"}),
        ("tidegate_contract", set()),
    ],
)
def test_a_package_imports_of_the_others_only_what_it_may_know(package: str, allowed: set[str]) -> None:
    for file in files(PACKAGES[package]):
        assert roots(imports(file)) & PACKAGES.keys() <= {package, *allowed}, file


def test_the_contract_needs_only_the_standard_library_msgspec_and_numpy() -> None:
    for file in files(PACKAGES["tidegate_contract"]):
        assert roots(imports(file)) - STANDARD <= {"msgspec", "numpy", "tidegate_contract"}, file


def test_the_core_has_no_shell_clock_chance_or_network() -> None:
    forbidden = {"time", "random", "secrets", "uuid", "asyncio", "os", "socket", "threading", "logging"}
    for file in files(PACKAGES["tidegate_operator"] / "core"):
        found = imports(file)
        assert roots(found) - STANDARD <= {"tidegate_contract", "tidegate_operator"}, file
        assert not roots(found) & forbidden, file
        assert all(
            module.startswith("tidegate_operator.core") for module in found if module.startswith("tidegate_operator")
        ), file
        assert not re.search(r"\b(now|today|utcnow)\(\)", file.read_text()), file


def test_one_module_asks_the_clock() -> None:
    clock = re.compile(r"datetime\.now\(|\btime\.(time|monotonic|perf_counter)\(")
    for file in files(PACKAGES["tidegate_operator"]):
        if file.name != "clock.py":
            assert not clock.search(file.read_text()), file


def test_one_module_writes_to_the_api_server() -> None:
    writing = re.compile(r"""["'](POST|PUT|PATCH|DELETE)["']|\.(post|put|patch|delete)\(f?["']""")
    found = [file.name for file in files(PACKAGES["tidegate_operator"]) if writing.search(file.read_text())]
    assert found == ["writer.py"]


def test_the_command_line_imports_the_other_parts_inside_its_subcommands() -> None:
    for file in files(PACKAGES["tidegate_cli"]):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in ("tidegate_operator", "tidegate_server"), file


def test_the_root_folders_are_no_packages() -> None:
    for folder in ("operator", "server", "tests", "tests/operator", "tests/server"):
        assert not (ROOT / folder / "__init__.py").exists(), f"{folder}/__init__.py shadows a module"


def test_the_wheel_lists_every_package_and_nothing_else() -> None:
    """hatchling is silent about a path that does not exist."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = {ROOT / path for path in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    assert listed == set(PACKAGES.values())
    assert all((path / "py.typed").exists() for path in listed)


def test_the_locks_name_no_package_host() -> None:
    for lock in sorted([*ROOT.glob("requirements/*.txt"), *ROOT.glob("tests/bench/peer_servers/*.txt")]):
        text = lock.read_text()
        assert "--hash=sha256:" in text, lock
        assert "://" not in text, lock

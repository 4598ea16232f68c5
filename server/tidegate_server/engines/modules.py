"""Modules out of a bundle: those that its manifest lists, and no others.

They are one package, of a name that no other has, so that two versions of a model can be loaded beside each other.
"""

import sys
from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from importlib.abc import ExecutionLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import decode_source
from pathlib import Path
from secrets import token_hex
from types import ModuleType


def import_from(
    folder: str, name: str, files: Collection[str], read: Callable[[str], bytes], directory: Path
) -> ModuleType:
    """The module `name` of a folder of the bundle.

    `files`: the paths inside the bundle, of which `read` gives the bytes; `directory`: where that folder lies.
    Raises ModuleNotFoundError, and whatever the modules raise.
    """
    package = f"tidegate_model_{token_hex(8)}"
    finder = _Finder(package, folder, files, read, directory)
    sys.meta_path.insert(0, finder)
    try:
        return import_module(f"{package}.{name}")
    except BaseException:
        sys.meta_path.remove(finder)
        for found in [found for found in sys.modules if found.partition(".")[0] == package]:
            del sys.modules[found]
        raise


class _Finder(MetaPathFinder, ExecutionLoader):
    def __init__(
        self, package: str, folder: str, files: Collection[str], read: Callable[[str], bytes], directory: Path
    ) -> None:
        self._package = package
        self._folder = folder
        self._files = files
        self._read = read
        self._directory = directory

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != self._package:
            return None
        if not self._source(fullname) and not self.is_package(fullname):
            # No other finder is to be asked: it would look where the process happens to be.
            raise ModuleNotFoundError(f"the bundle has no module {fullname.partition('.')[2]}", name=fullname)
        spec = ModuleSpec(fullname, self, origin=self.get_filename(fullname), is_package=self.is_package(fullname))
        spec.has_location = True
        return spec

    def is_package(self, fullname: str) -> bool:
        if source := self._source(fullname):
            return source.endswith("/__init__.py")
        inside = f"{self._path(fullname)}/"
        return any(file.startswith(inside) and file.endswith(".py") for file in self._files)

    def get_filename(self, fullname: str) -> str:
        inside = self._source(fullname) or self._path(fullname)
        return str(self._directory / inside.removeprefix(self._folder).removeprefix("/"))

    def get_source(self, fullname: str) -> str:
        source = self._source(fullname)
        return decode_source(self._read(source)) if source else ""

    def _path(self, fullname: str) -> str:
        return self._folder + fullname.removeprefix(self._package).replace(".", "/")

    def _source(self, fullname: str) -> str | None:
        path = self._path(fullname)
        return next((file for file in (f"{path}.py", f"{path}/__init__.py") if file in self._files), None)

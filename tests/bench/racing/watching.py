"""Follows objects of the cluster by kubectl's own watch, so that nothing waits for the next look."""

import subprocess
import threading
from collections.abc import Callable
from typing import Self

from kube import in_namespace


class Watch:
    """Gives each state of the selected objects to `seen`, as the line that `path` (a JSONPath) makes of it."""

    def __init__(self, namespace: str, selected: list[str], path: str, seen: Callable[[str], None]) -> None:
        output = f'jsonpath={path}{{"\\n"}}'
        self._argv = ["kubectl", "get", *selected, "--watch", "-o", output, *in_namespace(namespace)]
        self._seen = seen
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._process.terminate()
        self._thread.join()

    def _follow(self) -> None:
        """An API server ends a watch after a while; the next one begins with what there is."""
        while not self._over.wait(0.1):
            self._process = subprocess.Popen(self._argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            assert self._process.stdout
            if self._over.is_set():
                self._process.terminate()
            for line in self._process.stdout:
                if line.strip():
                    self._seen(line)
            self._process.wait()

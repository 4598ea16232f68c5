"""A compiled engine for few rows and the original for many, where the original is faster.

The original, and the libraries that it needs, are loaded when the first such batch comes: in a thread of its own,
while the compiled engine goes on answering, which it does as rightly and only more slowly.
"""

import logging
import threading
from collections.abc import Callable, Sequence

from tidegate_contract.failure import BundleError
from tidegate_server.engines import Engine
from tidegate_server.tensors import Columns, rows_of

_logger = logging.getLogger(__name__)


class ChosenEngine:
    """See `Engine`."""

    def __init__(self, compiled: Engine, limit: int | None, load_original: Callable[[], Engine]) -> None:
        """`limit`: up to how many rows the compiled engine answers; None: always. `load_original` is called once, and
        may raise BundleError."""
        self.compiled = compiled
        self._limit = limit
        self.load_original = load_original
        self._original: Engine | None = None
        self._lock = threading.Lock()
        self._loading: threading.Thread | None = None

    def predict(self, columns: Columns, outputs: Sequence[str]) -> Columns:
        engine = self.compiled
        if self._limit is not None and rows_of(columns) > self._limit:
            engine = self._original or self._begin_to_load()
        return engine.predict(columns, outputs)

    def wait(self) -> None:
        """Until the original is there, if it has been asked for."""
        if self._loading is not None:
            self._loading.join()

    def _begin_to_load(self) -> Engine:
        with self._lock:
            if self._loading is None:
                loading = threading.Thread(target=self._load, name="load-original", daemon=True)
                try:
                    loading.start()
                except RuntimeError as error:  # no thread is to be had now; the next such batch tries again
                    _logger.warning("the original is not loaded yet", extra={"why": str(error)})
                else:
                    self._loading = loading
        return self.compiled

    def _load(self) -> None:
        try:
            self._original = self.load_original()
        except BundleError as error:
            why = error.failure.message
            _logger.warning("the original does not load, and the compiled engine answers all", extra={"why": why})
        except Exception:
            _logger.exception("loading the original failed in an unforeseen way")
        else:
            _logger.info("the original is loaded, for batches of many rows", extra={"rows_above": self._limit})

"""A model from a file, and what it predicts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TYPE = "tensor(float)"
_SAID = re.compile(r"failed:\s*(?:/\S+:\d+ .*\) )?(.+)$")


class BadModelError(Exception):
    """A model cannot be loaded, or does not predict; the words say why."""


class BadInputError(Exception):
    """What was given is nothing that the model takes; the words say what it takes."""


class Model:
    """A loaded model: rows of numbers in, one number a row out."""

    def __init__(self, folder: Path, file: str) -> None:
        """Load it. Raises BadModelError."""
        path = folder / file
        if not path.is_file():
            there = ", ".join(sorted(one.name for one in folder.glob("*.onnx"))) or "no model at all"
            raise BadModelError(f"there is no model {file!r}; there is {there}")
        import numpy as np  # they take half a second, which nobody waits for without a model
        import onnxruntime

        self._table: Callable[[Any], Any] = lambda rows: np.asarray(rows, dtype=np.float32)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what it has to say is in what it raises
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no base but this
            raise BadModelError(f"the model {file!r} cannot be loaded: {_words(error)}") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != TYPE or len(inputs[0].shape) != 2:
            raise BadModelError(f"the model {file!r} does not take one table of numbers")
        self._input = inputs[0].name
        self.width = int(inputs[0].shape[1])
        """Numbers in a row."""

    def predict(self, rows: Any) -> list[float]:
        """Return one number for each row. Raises BadInputError, BadModelError."""
        if not isinstance(rows, list) or not rows:
            raise BadInputError(f"inputs must be a list of rows of {self.width} numbers")
        for at, row in enumerate(rows):
            if not isinstance(row, list) or len(row) != self.width or not all(_is_number(value) for value in row):
                raise BadInputError(f"row {at} of inputs is no list of {self.width} numbers")
        try:
            (outputs,) = self._session.run(None, {self._input: self._table(rows)})
        except Exception as error:  # as above
            raise BadModelError(f"the model failed: {_words(error)}") from error
        return [float(value) for value in outputs.reshape(len(rows))]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30


def _words(error: Exception) -> str:
    """Return what onnxruntime says in one line, without its own path and the place in its source."""
    said = " ".join(str(error).split())
    found = _SAID.search(said)
    return found[1] if found else said or type(error).__name__

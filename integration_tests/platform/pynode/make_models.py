"""Writes the models in ``models/``: ``python make_models.py [FOLDER]``. They are the same bytes each time.

Each takes rows of three numbers (area, rooms, age) and gives a price. ONNX is a protocol buffer; so little of it is
needed here that it is written by hand, which has no version of a library change a byte.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

FLOAT = 1
VARINT, BYTES = 0, 2
IR, OPSET = 8, 17
PRICES = {"price-1.onnx": ((2.0, 10.0, -1.0), 5.0), "price-2.onnx": ((3.0, 8.0, -0.5), 1.0)}
"""Weights of a row's numbers, and what is added."""


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3 | VARINT) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | BYTES) + _varint(len(data)) + data


def _tensor(name: str, shape: tuple[int, ...], values: tuple[float, ...]) -> bytes:
    dims = b"".join(_field(1, size) for size in shape)
    return dims + _field(2, FLOAT) + _field(8, name) + _field(9, struct.pack(f"<{len(values)}f", *values))


def _value(name: str, width: int) -> bytes:
    shape = _field(1, _field(2, "rows")) + _field(1, _field(1, width))
    return _field(1, name) + _field(2, _field(1, _field(1, FLOAT) + _field(2, shape)))


def _node(operator: str, inputs: tuple[str, ...], output: str) -> bytes:
    return b"".join(_field(1, name) for name in inputs) + _field(2, output) + _field(4, operator)


def linear(weights: tuple[float, ...], bias: float, *, ir: int = IR, opset: int = OPSET) -> bytes:
    """Return a model of ``row @ weights + bias``."""
    graph = (
        _field(1, _node("MatMul", ("x", "weights"), "product"))
        + _field(1, _node("Add", ("product", "bias"), "y"))
        + _field(2, "price")
        + _field(5, _tensor("weights", (len(weights), 1), weights))
        + _field(5, _tensor("bias", (1,), (bias,)))
        + _field(11, _value("x", len(weights)))
        + _field(12, _value("y", 1))
    )
    return _field(1, ir) + _field(2, "make_models") + _field(7, graph) + _field(8, _field(2, opset))


def models() -> dict[str, bytes]:
    """Return every model: two that are right, one that is cut off, two of versions that nobody reads yet."""
    right = {name: linear(*price) for name, price in PRICES.items()}
    first = PRICES["price-1.onnx"]
    return {
        **right,
        "corrupt.onnx": right["price-1.onnx"][:90],
        "newer-ir.onnx": linear(*first, ir=99),
        "newer-opset.onnx": linear(*first, opset=999),
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "models")
    for name, data in models().items():
        (folder / name).write_bytes(data)

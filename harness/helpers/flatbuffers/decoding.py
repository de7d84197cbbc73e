"""From bytes to plain values by a schema, with every offset, depth and amount bounded.

A schema is turned into a tree of small functions once; a message then costs little more than its unpacking. Layout:
https://flatbuffers.dev/internals. The format has no protection of its own: offsets of a hostile buffer can point
anywhere and share, so depth and the amount made are limited, as in the verifier of the C++ library.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from harness.helpers.flatbuffers.buffers import BadBuffer, head_of
from harness.helpers.flatbuffers.model import FORMATS, Base, Plain

if TYPE_CHECKING:
    from harness.helpers.flatbuffers.model import Enum, Field, Model, Object, Type

DEPTH = 64  # tables in tables; the default of the C++ verifier
AMOUNT = 8 << 20  # bytes and fields that any message may decode to, and
AMOUNT_PER_BYTE = 16  # for each of its bytes: shared parts decode to more than they take

_UINT32 = struct.Struct("<I").unpack_from
_INT32 = struct.Struct("<i").unpack_from
_VTABLE_HEAD = struct.Struct("<HH").unpack_from
_TRIPPED = (struct.error, ValueError, IndexError, OverflowError)  # what unpacking raises outside of a buffer


def amount_allowed(length: int) -> int:
    """Return how much a message of ``length`` bytes may decode to."""
    return max(AMOUNT, AMOUNT_PER_BYTE * length)


class _Malformed(Exception):
    """Something in a buffer cannot be; ``path`` grows on the way out."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.path: list[str] = []

    def __str__(self) -> str:
        where = "".join(reversed(self.path)).lstrip(".")
        return f"{where}: {self.args[0]}" if where else str(self.args[0])


class _Cursor:
    """A buffer and how much may still be made of it."""

    __slots__ = ("data", "left", "size")

    def __init__(self, data: bytes, left: int) -> None:
        self.data = data
        self.size = len(data)
        self.left = left

    def spend(self, amount: int) -> None:
        """Take ``amount`` from what is left. Raises when that is not enough."""
        self.left -= amount
        if self.left < 0:
            raise _Malformed("its parts are shared so often that it would not fit into memory")

    def vector(self, position: int, width: int) -> tuple[int, int]:
        """Return where the elements of the vector that ``position`` points to start, and how many there are."""
        position += _UINT32(self.data, position)[0]
        (count,) = _UINT32(self.data, position)
        if position + 4 + count * width > self.size:
            raise _Malformed(f"{count} elements of {width} bytes at {position} in {self.size}")
        self.spend(count + 8)
        return position + 4, count


Reader: TypeAlias = Callable[[_Cursor, int, int], Plain]
"""Reads what is at a position of a cursor, with so many tables in tables still allowed."""


class Decoder:
    """Reads messages whose root is one table of ``model``."""

    def __init__(self, model: Model, root: int) -> None:
        self._model = model
        self._tables: dict[int, Any] = {}
        self._structs: dict[int, _Struct] = {}
        self._root = self._table(root)

    def decode(self, buffer: bytes, schema: str) -> dict[str, Any]:
        """Return the root table of ``buffer``, a message of schema ``what``.

        Raises:
            BadBuffer: it is truncated or malformed.
        """
        data = bytes(buffer)
        try:
            cursor = _Cursor(data, amount_allowed(len(data)))
            value: dict[str, Any] = self._root(cursor, *_UINT32(data, 0), DEPTH)
        except (_Malformed, *_TRIPPED) as error:
            raise BadBuffer(
                f"A {schema} message of {len(data)} bytes is malformed or truncated: {error} (head: {head_of(data)})"
            ) from error
        return value

    # Types

    def _table(self, index: int) -> Plain:
        if index not in self._tables:
            table = _Table(self._model.objects[index])
            self._tables[index] = table.read  # before its fields: they may refer to it
            table.fill(self)
        return self._tables[index]

    def struct(self, index: int) -> _Struct:
        """Return how a struct is read."""
        if index not in self._structs:
            self._structs[index] = _Struct(self._model, self._model.objects[index])
        return self._structs[index]

    def target(self, type_: Type) -> Reader:
        """Return what reads a string, table or union member *at* a position."""
        if type_.base == Base.STRING:
            return _string
        if self._model.objects[type_.index].is_struct:
            return self.struct(type_.index).read
        reader: Reader = self._table(type_.index)
        return reader

    def enum(self, type_: Type) -> Enum | None:
        """Return the enum that a scalar belongs to."""
        return self._model.enums[type_.index] if type_.base in FORMATS and type_.index >= 0 else None

    def union(self, type_: Type) -> dict[int, Reader]:
        """Return what reads each member of a union."""
        members = self._model.enums[type_.index].types
        return {number: self.target(member) for number, member in members.items() if number}

    def field(self, field: Field) -> Reader:
        """Return what reads a field whose own bytes (a value or an offset) are at a position."""
        kind = field.type
        if kind.base in FORMATS:
            return _scalar(kind.base, self.enum(kind))
        if kind.base == Base.VECTOR:
            if field.nested >= 0:
                return _nested(self._table(field.nested))
            return self._vector(kind.item)
        if kind.base == Base.OBJ and self._model.objects[kind.index].is_struct:
            return self.struct(kind.index).read
        return _at_offset(self.target(kind))

    def _vector(self, item: Type) -> Reader:
        if item.base in FORMATS:
            return _scalars(item.base, self.enum(item))
        if item.base == Base.OBJ and self._model.objects[item.index].is_struct:
            return self.struct(item.index).read_vector
        return _offsets(self.target(item))


class _Table:
    """Reads one kind of table into a dict."""

    def __init__(self, object_: Object) -> None:
        self._object = object_
        self._plan: list[tuple[str, int, Any, Any, Any]] = []
        self._required = [(field.slot, field.name) for field in object_.usable.values() if field.required]
        self._slots = max((field.slot for field in object_.fields), default=-1) + 1
        self._vtables = [struct.Struct(f"<{count}H").unpack_from for count in range(self._slots + 1)]
        self._cost = 8 + len(object_.usable)

    def fill(self, decoder: Decoder) -> None:
        """Plan the fields: name, slot, a plain unpack if that is all, else a reader, and what an absent one is."""
        for field in self._object.fields:
            if field.deprecated:
                continue
            kind = field.type
            unpack: Any = None
            read: Any = None
            if kind.base == Base.UNION or (kind.base == Base.VECTOR and kind.element == Base.UNION):
                read = _Union(decoder.union(kind), vector=kind.base == Base.VECTOR)
                self._plan.append((field.name, field.slot, None, read, None))
                continue
            if kind.base in FORMATS and kind.base != Base.BOOL and decoder.enum(kind) is None:
                unpack = struct.Struct("<" + FORMATS[kind.base]).unpack_from
            else:
                read = decoder.field(field)
            self._plan.append((field.name, field.slot, unpack, read, _absent(field, decoder.enum(kind))))

    def read(self, cursor: _Cursor, position: int, depth: int) -> dict[str, Plain]:
        """Return the table at ``position``."""
        if depth <= 0:
            raise _Malformed(f"tables are nested more than {DEPTH} deep")
        cursor.spend(self._cost)
        data = cursor.data
        slots = self._filled(cursor, position)
        fields: dict[str, Plain] = {}
        name = ""
        try:
            for name, slot, unpack, read, absent in self._plan:
                offset = slots[slot]
                if not offset:
                    fields[name] = absent() if callable(absent) else absent
                elif unpack is not None:
                    (fields[name],) = unpack(data, position + offset)
                elif read.__class__ is _Union:
                    kinds = slots[slot - 1]  # a union's type is the field before it
                    fields[name] = read.read(cursor, position + offset, position + kinds if kinds else 0, depth - 1)
                else:
                    fields[name] = read(cursor, position + offset, depth - 1)
        except _Malformed as error:
            error.path.append(f".{name}")
            raise
        except _TRIPPED as error:
            raise _at(error, f".{name}") from error
        for slot, name in self._required:
            if not slots[slot]:
                raise _at("is required, and absent", f".{name}")
        return fields

    def _filled(self, cursor: _Cursor, position: int) -> tuple[int, ...]:
        """Return where in the table at ``position`` each slot has its field, 0 for absent ones."""
        data = cursor.data
        vtable = position - _INT32(data, position)[0]
        if vtable < 0:
            raise _Malformed(f"vtable at {vtable}")
        size, table_size = _VTABLE_HEAD(data, vtable)
        if position + table_size > cursor.size or vtable + size > cursor.size:
            raise _Malformed(f"table of {table_size} bytes at {position} in {cursor.size}")
        count = min((size - 4) // 2, self._slots)
        if count < 0:
            raise _Malformed(f"vtable of {size} bytes")
        slots: tuple[int, ...] = self._vtables[count](data, vtable + 4)
        return slots if count == self._slots else slots + (0,) * (self._slots - count)


_Maker: TypeAlias = Callable[[Iterator[Any]], Plain]
"""Makes a value of the next unpacked numbers."""


class _Struct:
    """Reads one kind of struct, fixed arrays and structs in it included, by one unpack."""

    def __init__(self, model: Model, object_: Object) -> None:
        self.size = object_.size
        letters, self._build = _struct_plan(model, object_)
        self._packed = struct.Struct("<" + letters)
        self._cost = 8 + len(letters)

    def read(self, cursor: _Cursor, position: int, _: int) -> dict[str, Any]:
        """Return the struct at ``position``."""
        cursor.spend(self._cost)
        fields: dict[str, Plain] = self._build(iter(self._packed.unpack_from(cursor.data, position)))
        return fields

    def read_vector(self, cursor: _Cursor, position: int, _: int) -> list[dict[str, Any]]:
        """Return the vector of structs that ``position`` points to."""
        start, count = cursor.vector(position, self.size)
        cursor.spend(count * self._cost)
        rows = self._packed.iter_unpack(memoryview(cursor.data)[start : start + count * self.size])
        return [self._build(iter(row)) for row in rows]


def _struct_plan(model: Model, object_: Object) -> tuple[str, _Maker]:
    """Return the letters of a struct's bytes, and what makes a dict of the unpacked values in their order."""
    letters, end = "", 0
    parts: list[tuple[str, _Maker]] = []
    for field in object_.fields:
        kind = field.type
        item, count = (kind.item, kind.length) if kind.base == Base.ARRAY else (kind, 1)
        if item.base == Base.OBJ:
            inner = model.objects[item.index]
            letter, make = _struct_plan(model, inner)
            width = inner.size
        else:
            letter = FORMATS[item.base]
            make = _next_of(item.base, model.enums[item.index] if item.index >= 0 else None)
            width = struct.calcsize("<" + letter)
        start, end = end, field.start + width * count
        if not start <= field.start <= end <= object_.size or not width:
            raise ValueError(f"struct {object_.name}: {field.name} does not fit into {object_.size} bytes")
        letters += f"{field.start - start}x" + letter * count
        parts.append((field.name, make if kind.base != Base.ARRAY else _several(make, count)))
    letters += f"{object_.size - end}x"

    def build(values: Iterator[Any]) -> dict[str, Plain]:
        return {name: make(values) for name, make in parts}

    return letters, build


def _next_of(base: Base, enum: Enum | None) -> _Maker:
    if base == Base.BOOL:
        return lambda values: bool(next(values))
    if enum is None:
        return next
    shown = _shown(enum)
    return lambda values: shown(next(values))


def _several(make: _Maker, count: int) -> _Maker:
    return lambda values: [make(values) for _ in range(count)]


def _shown(enum: Enum) -> Callable[[int], Any]:
    """Return what makes a name of a number (a list of names for flags); a number that has none stays one."""
    names = enum.names
    if not enum.is_flags:
        return lambda number: names.get(number, number)

    def flags(number: int) -> list[str | int]:
        shown: list[str | int] = [name for bit, name in names.items() if bit and number & bit == bit]
        named = 0
        for bit in names:
            named |= bit
        rest = number & ~named
        return [*shown, rest] if rest else shown

    return flags


def _absent(field: Field, enum: Enum | None) -> Plain:
    if field.type.base not in FORMATS or field.optional:
        return None
    if field.type.base in (Base.FLOAT, Base.DOUBLE):
        return float(field.default)
    number = int(field.default)
    if field.type.base == Base.ULONG:
        number &= (1 << 64) - 1  # reflection.fbs keeps it in a signed field
    if field.type.base == Base.BOOL:
        return bool(number)
    if enum is None:
        return number
    shown = _shown(enum)
    return (lambda: shown(number)) if enum.is_flags else shown(number)


def _scalar(base: Base, enum: Enum | None) -> Reader:
    unpack = struct.Struct("<" + FORMATS[base]).unpack_from
    if base == Base.BOOL:
        return lambda cursor, position, _: bool(unpack(cursor.data, position)[0])
    shown = _shown(enum) if enum else (lambda number: number)
    return lambda cursor, position, _: shown(unpack(cursor.data, position)[0])


def _scalars(base: Base, enum: Enum | None) -> Reader:
    dtype = np.dtype("<" + FORMATS[base])
    shown = _shown(enum) if enum else None

    def read(cursor: _Cursor, position: int, _: int) -> Plain:
        start, count = cursor.vector(position, dtype.itemsize)
        array = np.frombuffer(cursor.data, dtype, count, start) if count else np.empty(0, dtype)
        if base == Base.BOOL:
            return array != 0
        if shown is None:
            return array
        cursor.spend(8 * count)
        return [shown(number) for number in array.tolist()]

    return read


def _string(cursor: _Cursor, position: int, _: int) -> str:
    data = cursor.data
    (length,) = _UINT32(data, position)
    start = position + 4
    end = start + length
    if end >= cursor.size:  # a zero byte ends it
        raise _Malformed(f"text of {length} bytes at {position} in {cursor.size}")
    cursor.spend(length + 8)
    return data[start:end].decode()


def _at_offset(target: Reader) -> Reader:
    return lambda cursor, position, depth: target(cursor, position + _UINT32(cursor.data, position)[0], depth)


def _offsets(target: Reader) -> Reader:
    def read(cursor: _Cursor, position: int, depth: int) -> list[Plain]:
        start, count = cursor.vector(position, 4)
        items: list[Plain] = []
        add = items.append
        try:
            for place in range(start, start + 4 * count, 4):
                add(target(cursor, place + _UINT32(cursor.data, place)[0], depth))
        except _Malformed as error:
            error.path.append(f"[{len(items)}]")
            raise
        except _TRIPPED as error:
            raise _at(error, f"[{len(items)}]") from error
        return items

    return read


def _nested(table: Reader) -> Reader:
    def read(cursor: _Cursor, position: int, depth: int) -> Plain:
        start, count = cursor.vector(position, 1)
        if not count:
            return None
        inner = _Cursor(cursor.data[start : start + count], cursor.left)
        value = table(inner, _UINT32(inner.data, 0)[0], depth)
        cursor.left = inner.left
        return value

    return read


class _Union:
    """Reads the value of a union, or a vector of them; their types are elsewhere."""

    def __init__(self, readers: dict[int, Reader], *, vector: bool) -> None:
        self._readers = readers
        self._vector = vector

    def read(self, cursor: _Cursor, position: int, kinds: int, depth: int) -> Plain:
        """Return the union whose offset is at ``position`` and whose type is at ``kinds`` (0: absent)."""
        data = cursor.data
        if not self._vector:
            return self._value(cursor, position, data[kinds] if kinds else 0, depth)
        start, count = cursor.vector(position, 4)
        if not kinds:
            raise _Malformed("a vector of unions without one of types")
        kinds, how_many = cursor.vector(kinds, 1)
        if count != how_many:
            raise _Malformed(f"{count} unions with {how_many} types")
        return [self._value(cursor, start + 4 * index, data[kinds + index], depth) for index in range(count)]

    def _value(self, cursor: _Cursor, position: int, kind: int, depth: int) -> Plain:
        if kind == 0:
            return None
        if kind not in self._readers:
            raise _Malformed(f"no member {kind} in the union")
        return self._readers[kind](cursor, position + _UINT32(cursor.data, position)[0], depth)


def _at(reason: object, where: str) -> _Malformed:
    error = _Malformed(str(reason))
    error.path.append(where)
    return error

"""A schema as data: what a ``.bfbs`` file says of types, as frozen values.

Source: reflection/reflection.fbs of FlatBuffers, which describes ``.bfbs`` files as FlatBuffers messages.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

Plain: TypeAlias = Any
"""None, a number, a text, a numpy array, a list or dict of these; or what a user gave in place of one."""


class Base(enum.IntEnum):
    """The kinds of types (``BaseType`` in reflection.fbs)."""

    NONE = 0
    UTYPE = 1
    BOOL = 2
    BYTE = 3
    UBYTE = 4
    SHORT = 5
    USHORT = 6
    INT = 7
    UINT = 8
    LONG = 9
    ULONG = 10
    FLOAT = 11
    DOUBLE = 12
    STRING = 13
    VECTOR = 14
    OBJ = 15
    UNION = 16
    ARRAY = 17
    VECTOR64 = 18


FORMATS = {
    Base.UTYPE: "B",
    Base.BOOL: "B",
    Base.BYTE: "b",
    Base.UBYTE: "B",
    Base.SHORT: "h",
    Base.USHORT: "H",
    Base.INT: "i",
    Base.UINT: "I",
    Base.LONG: "q",
    Base.ULONG: "Q",
    Base.FLOAT: "f",
    Base.DOUBLE: "d",
}
"""Scalars and their letters in ``struct``, which numpy shares; little-endian (https://flatbuffers.dev/internals)."""


@dataclass(frozen=True)
class Type:
    """The type of a field or of a union's member.

    Attributes:
        base: what it is.
        element: of what, for vectors and arrays.
        index: the object or enum that it (or its element) is, -1 for none.
        length: of an array.
    """

    base: Base
    element: Base = Base.NONE
    index: int = -1
    length: int = 0

    @property
    def item(self) -> Type:
        """The type of one element of a vector or array."""
        return Type(self.element, index=self.index)


@dataclass(frozen=True)
class Field:
    """A field of a table or struct.

    Attributes:
        name: its name.
        type: its type.
        slot: its place among the fields of a table.
        start: its first byte in a struct.
        default: of a scalar.
        optional: whether a scalar may be absent (``= null``).
        nested: the table that its bytes hold (``nested_flatbuffer``), or -1.
        align: what a vector is aligned to (``force_align``), 1 if nothing is said.
    """

    name: str
    type: Type
    slot: int
    start: int = 0
    default: float = 0
    deprecated: bool = False
    required: bool = False
    key: bool = False
    optional: bool = False
    nested: int = -1
    align: int = 1


@dataclass(frozen=True)
class Object:
    """A table or struct; its fields are in the order of their slots."""

    name: str
    fields: tuple[Field, ...]
    is_struct: bool = False
    align: int = 1
    size: int = 0

    @cached_property
    def key(self) -> Field | None:
        """The field that vectors of this are sorted by, if one is declared."""
        return next((field_ for field_ in self.fields if field_.key), None)

    @cached_property
    def usable(self) -> dict[str, Field]:
        """The fields that are read and written, by name."""
        return {field_.name: field_ for field_ in self.fields if not field_.deprecated}


@dataclass(frozen=True)
class Enum:
    """An enum or union: its members' names by number, and the types of a union's members."""

    name: str
    names: dict[int, str]
    is_union: bool = False
    is_flags: bool = False
    types: dict[int, Type] = field(default_factory=dict)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The members' numbers by name."""
        return {name: number for number, name in self.names.items()}


@dataclass(frozen=True)
class Model:
    """All types of a schema, and which table is its root (-1: none)."""

    objects: tuple[Object, ...]
    enums: tuple[Enum, ...]
    identifier: str = ""
    root: int = -1

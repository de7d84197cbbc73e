"""From plain values to bytes by a schema; what does not fit is refused: where, what was given, what was needed."""

from __future__ import annotations

import enum as enums
import numbers
import reprlib
import struct
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import numpy as np
from flatbuffers import Builder

from harness.errors import nearest
from harness.helpers.flatbuffers.buffers import BadValue
from harness.helpers.flatbuffers.decoding import DEPTH
from harness.helpers.flatbuffers.model import FORMATS, Base, Plain, Type

if TYPE_CHECKING:
    from harness.helpers.flatbuffers.model import Enum, Field, Model, Object

_NUMBER = 0  # the number of NONE in every union


def _refused(path: str, seen: object, needed: str, nearby: str = "") -> BadValue:
    shown = seen if isinstance(seen, _Words) else f"{reprlib.repr(seen)} ({type(seen).__name__})"
    return BadValue(f"{path.lstrip('.') or 'the message'}: {shown} was given, {needed} was needed{nearby}")


class _Words(str):
    """What was seen, in words that need no quotes."""

    __slots__ = ()


class Encoder:
    """Writes messages whose root is one table of ``model``."""

    def __init__(self, model: Model, root: int) -> None:
        self._model = model
        self._root = root

    def encode(self, value: Mapping[str, Plain], *, identifier: str = "", size_prefixed: bool = False) -> bytes:
        """Return ``value`` as a message.

        Raises:
            BadValue: it does not fit the schema.
        """
        builder = Builder(256)
        root = _Writing(self._model, builder).table(self._root, value, "", DEPTH)
        finish = builder.FinishSizePrefixed if size_prefixed else builder.Finish
        finish(root, file_identifier=identifier.encode("latin-1") if identifier else None)
        return bytes(builder.Output())


class _Types:
    """What the types of a model look like, and the bytes of their scalars."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def _default(self, field: Field) -> bytes:
        number: float = field.default
        if field.type.base not in (Base.FLOAT, Base.DOUBLE):
            number = int(number) & (1 << 64) - 1 if field.type.base == Base.ULONG else int(number)
        return struct.pack("<" + FORMATS[field.type.base], number)

    def _scalar(self, kind: Type, seen: Plain, path: str) -> bytes:
        code = FORMATS[kind.base]
        if kind.index >= 0:
            seen = self._number(self._model.enums[kind.index], seen, path)
        elif kind.base == Base.BOOL:
            if not isinstance(seen, bool | np.bool_):
                raise _refused(path, seen, "True or False")
        elif isinstance(seen, bool | np.bool_) or not isinstance(
            seen, numbers.Real if kind.base in (Base.FLOAT, Base.DOUBLE) else numbers.Integral
        ):
            raise _refused(path, seen, self._wanted(kind))
        try:
            return struct.pack("<" + code, seen)
        except (struct.error, OverflowError) as error:
            raise _refused(path, seen, self._wanted(kind)) from error

    def _number(self, enum: Enum, seen: Plain, path: str) -> int:
        """Return the number of a member that is given by name, by number or, for flags, as several."""
        if isinstance(seen, enums.Enum):
            seen = seen.name
        if isinstance(seen, numbers.Integral) and not isinstance(seen, bool):
            if enum.is_union and int(seen) not in enum.names:
                raise _refused(path, seen, f"a member of {enum.name}")
            return int(seen)
        if enum.is_flags and isinstance(seen, Sequence | AbstractSet) and not isinstance(seen, str | bytes):
            number = 0
            for flag in seen:
                number |= self._number(enum, flag, path)
            return number
        if isinstance(seen, str):
            if seen in enum.numbers:
                return enum.numbers[seen]
            names = ", ".join(list(enum.numbers)[:12]) + (", ..." if len(enum.numbers) > 12 else "")  # noqa: PLR2004
            raise _refused(path, _Words(repr(seen)), f"a member of {enum.name} ({names})", nearest(seen, enum.numbers))
        raise _refused(path, seen, f"{'names' if enum.is_flags else 'a name'} of {enum.name}")

    def _width(self, kind: Type) -> int:
        if kind.base in FORMATS:
            return struct.calcsize("<" + FORMATS[kind.base])
        if kind.base == Base.OBJ and self._model.objects[kind.index].is_struct:
            return self._model.objects[kind.index].size
        return 4

    def _align(self, kind: Type) -> int:
        if kind.base == Base.OBJ and self._model.objects[kind.index].is_struct:
            return self._model.objects[kind.index].align
        return self._width(kind)

    def _wanted(self, kind: Type) -> str:
        """Return what a type takes, in words."""
        if kind.base == Base.VECTOR:
            return f"a list of {self._wanted(kind.item)}"
        if kind.base == Base.ARRAY:
            return f"a list of {kind.length} of {self._wanted(kind.item)}"
        if kind.base in (Base.OBJ, Base.UNION):
            owner = self._model.objects if kind.base == Base.OBJ else self._model.enums
            return f"a {owner[kind.index].name}"
        if kind.index >= 0:
            return f"a name of {self._model.enums[kind.index].name}"
        return "text" if kind.base == Base.STRING else kind.base.name.lower()


class _Writing(_Types):
    """One message that is being written. Children come before parents, as the format is built backwards."""

    def __init__(self, model: Model, builder: Builder) -> None:
        super().__init__(model)
        self._builder = builder

    # Tables

    def table(self, index: int, value: Plain, path: str, depth: int) -> int:
        """Write a table and return its offset."""
        object_ = self._model.objects[index]
        values = _fields(object_, value, path)
        if depth <= 0:
            raise _refused(path[:60] + "...", _Words("a deeper value"), f"at most {DEPTH} tables in tables")
        ready: list[tuple[Field, Plain]] = []
        for field in object_.usable.values():
            seen = values.get(field.name)
            if seen is None:
                if field.name in values and field.type.base in FORMATS and not field.optional:
                    self._type_or_refuse(object_, values, field, path)
                if field.required:
                    raise _refused(f"{path}.{field.name}", _Words("nothing"), f"{self._wanted(field.type)} (required)")
                continue
            prepared = self._prepare(values, field, path, depth - 1)
            if prepared is not None:
                ready.append((field, prepared))
        builder = self._builder
        builder.StartObject(max((field.slot for field in object_.fields), default=-1) + 1)
        # The widest first, so that little is lost to alignment.
        for field, prepared in sorted(ready, key=lambda pair: -self._width(pair[0].type)):
            if isinstance(prepared, bytes):
                self._place(prepared, self._align(field.type))
            else:
                builder.PrependUOffsetTRelative(prepared)
            builder.Slot(field.slot)
        return int(builder.EndObject())

    def _type_or_refuse(self, object_: Object, values: Mapping[str, Plain], field: Field, path: str) -> None:
        """Let the type of an absent union be None; refuse None for any other scalar."""
        union = object_.usable.get(field.name.removesuffix("_type"))
        if field.type.base != Base.UTYPE or union is None or values.get(union.name) is not None:
            raise _refused(f"{path}.{field.name}", None, self._wanted(field.type))

    def _prepare(self, values: Mapping[str, Plain], field: Field, path: str, depth: int) -> bytes | int | None:
        """Return the bytes of an inline value, or the offset of one that is now written; None for the default."""
        kind, seen, here = field.type, values[field.name], f"{path}.{field.name}"
        if kind.base in FORMATS:
            packed = self._scalar(kind, seen, here)
            return packed if field.optional or packed != self._default(field) else None
        if kind.base == Base.OBJ and self._model.objects[kind.index].is_struct:
            return self._struct(kind.index, seen, here)
        if kind.base == Base.UNION:
            return self._union(kind, values.get(f"{field.name}_type"), seen, here, depth)
        if kind.base == Base.VECTOR:
            if kind.element == Base.UNION:
                return self._unions(kind, values.get(f"{field.name}_type"), seen, here, depth)
            if field.nested >= 0 and isinstance(seen, Mapping):
                return self._nested(field.nested, seen, here, depth)
            return self._vector(kind.item, seen, here, depth, field.align)
        return self._target(kind, seen, here, depth)

    def _target(self, kind: Type, seen: Plain, path: str, depth: int) -> int:
        """Write what offsets point to: a string, a table, a struct that is a union's member."""
        if kind.base == Base.STRING:
            if not isinstance(seen, str):
                raise _refused(path, seen, "text")
            try:
                return int(self._builder.CreateSharedString(seen))
            except UnicodeEncodeError as error:
                raise _refused(path, seen, "text that UTF-8 can hold") from error
        if self._model.objects[kind.index].is_struct:
            self._place(self._struct(kind.index, seen, path), self._model.objects[kind.index].align)
            return int(self._builder.Offset())
        return self.table(kind.index, seen, path, depth)

    def _place(self, packed: bytes, align: int) -> None:
        builder = self._builder
        builder.Prep(align, len(packed))
        builder.head -= len(packed)
        builder.Bytes[builder.head : builder.head + len(packed)] = packed

    # Unions

    def _union(self, kind: Type, named: Plain, seen: Plain, path: str, depth: int) -> int:
        union = self._model.enums[kind.index]
        if named is None:
            members = ", ".join(name for number, name in union.names.items() if number)
            raise _refused(f"{path}_type", _Words("nothing"), f"the name of what {path.lstrip('.')} is ({members})")
        number = self._number(union, named, f"{path}_type")
        if number == _NUMBER:
            raise _refused(path, seen, f"None (its type is {union.names[0]})")
        return self._target(union.types[number], seen, path, depth)

    def _unions(self, kind: Type, named: Plain, seen: Plain, path: str, depth: int) -> int:
        items = _sequence(seen, path, "a list of unions")
        names = _sequence(named, f"{path}_type", "a list of their names")
        if len(items) != len(names):
            raise _refused(path, _Words(f"{len(items)} values with {len(names)} types"), "one type for each value")
        offsets = [
            0
            if item is None and self._number(self._model.enums[kind.index], name, f"{path}_type[{index}]") == _NUMBER
            else self._union(kind, name, item, f"{path}[{index}]", depth)
            for index, (item, name) in enumerate(zip(items, names, strict=True))
        ]
        return self._offsets(offsets)

    # Vectors

    def _offsets(self, offsets: Sequence[int]) -> int:
        builder = self._builder
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            if offset:
                builder.PrependUOffsetTRelative(offset)
            else:
                builder.PrependUint32(0)
        return int(builder.EndVector())

    def _packed(self, packed: bytes, count: int, align: int) -> int:
        builder = self._builder
        builder.StartVector(len(packed) // count if count else 1, count, align)
        builder.head -= len(packed)
        builder.Bytes[builder.head : builder.head + len(packed)] = packed
        return int(builder.EndVector())

    def _vector(self, element: Type, seen: Plain, path: str, depth: int, align: int) -> int:
        align = max(align, self._align(element))
        if element.base in FORMATS:
            packed = self._numbers(element, seen, path)
            return self._packed(packed, len(packed) // self._width(element), align)
        items = _sequence(seen, path, f"a list of {self._wanted(element)}")
        if element.base == Base.OBJ:
            items = self._by_key(element.index, items)
            if self._model.objects[element.index].is_struct:
                parts = [self._struct(element.index, item, f"{path}[{at}]") for at, item in enumerate(items)]
                return self._packed(b"".join(parts), len(parts), align)
        return self._offsets([self._target(element, item, f"{path}[{at}]", depth) for at, item in enumerate(items)])

    def _by_key(self, index: int, items: Sequence[Plain]) -> Sequence[Plain]:
        """Return ``items`` as receivers search them: sorted by their key, text by its bytes, if they have one."""
        key = self._model.objects[index].key
        if key is None or not all(isinstance(item, Mapping) for item in items):
            return items
        if key.type.base == Base.STRING:
            return sorted(items, key=lambda item: str(item.get(key.name) or "").encode(errors="replace"))
        code = "<" + FORMATS[key.type.base]
        default = self._default(key)

        def number(at: int) -> float:
            seen = items[at].get(key.name)
            packed = default if seen is None else self._scalar(key.type, seen, f"[{at}].{key.name}")
            value: float = struct.unpack(code, packed)[0]
            return value

        return [items[at] for at in sorted(range(len(items)), key=number)]

    def _numbers(self, element: Type, seen: Plain, path: str) -> bytes:
        dtype = np.dtype("<" + FORMATS[element.base])
        if isinstance(seen, bytes | bytearray | memoryview) and dtype.itemsize == 1 and element.index < 0:
            return bytes(seen)
        if isinstance(seen, np.ndarray) and seen.ndim == 1 and element.index < 0:
            if seen.dtype == (np.dtype(bool) if element.base == Base.BOOL else dtype):
                return seen.tobytes()
            if element.base != Base.BOOL and seen.dtype != bool and np.can_cast(seen.dtype, dtype):
                return seen.astype(dtype).tobytes()
        if isinstance(seen, np.ndarray):
            seen = seen.tolist()
        items = _sequence(seen, path, f"a list of {self._wanted(element)}")
        return b"".join([self._scalar(element, item, f"{path}[{at}]") for at, item in enumerate(items)])

    def _nested(self, index: int, seen: Mapping[str, Plain], path: str, depth: int) -> int:
        builder = Builder(256)
        builder.Finish(_Writing(self._model, builder).table(index, seen, path, depth))
        packed = bytes(builder.Output())
        # Its own alignment holds only if it starts aligned.
        return self._packed(packed, len(packed), builder.minalign)

    # Structs

    def _struct(self, index: int, seen: Plain, path: str) -> bytes:
        object_ = self._model.objects[index]
        values = _fields(object_, seen, path)
        packed = bytearray(object_.size)
        for field in object_.fields:
            here = f"{path}.{field.name}"
            if field.name not in values:
                raise _refused(
                    here, _Words("nothing"), f"{self._wanted(field.type)} (structs have all of their fields)"
                )
            part = self._struct_part(field, values[field.name], here)
            packed[field.start : field.start + len(part)] = part
        return bytes(packed)

    def _struct_part(self, field: Field, seen: Plain, path: str) -> bytes:
        kind = field.type
        if kind.base == Base.OBJ:
            return self._struct(kind.index, seen, path)
        if kind.base != Base.ARRAY:
            return self._scalar(kind, seen, path)
        seen = seen.tolist() if isinstance(seen, np.ndarray) else seen
        items = _sequence(seen, path, self._wanted(kind))
        if len(items) != kind.length:
            raise _refused(path, _Words(f"a list of {len(items)}"), self._wanted(kind))
        write = self._scalar if kind.element in FORMATS else lambda type_, item, at: self._struct(type_.index, item, at)
        return b"".join([write(kind.item, item, f"{path}[{at}]") for at, item in enumerate(items)])


def _fields(object_: Object, value: Plain, path: str) -> Mapping[str, Plain]:
    """Return ``value`` as the fields of a table or struct; refuse names that it does not have."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if not isinstance(value, Mapping):
        raise _refused(path, value, f"the fields of {object_.name} as a dict")
    for name in value:
        if name not in object_.usable:
            valid = ", ".join(object_.usable)
            raise _refused(
                f"{path}.{name}",
                _Words(
                    "a deprecated field" if any(field.name == name for field in object_.fields) else "an unknown field"
                ),
                f"one of {object_.name}'s ({valid})",
                nearest(str(name), object_.usable),
            )
    return value


def _sequence(seen: Plain, path: str, needed: str) -> Sequence[Plain]:
    if isinstance(seen, np.ndarray):
        return list(seen)
    if seen is None:
        raise _refused(path, _Words("nothing"), needed)
    if isinstance(seen, str | bytes) or not isinstance(seen, Sequence):
        raise _refused(path, seen, needed)
    return seen

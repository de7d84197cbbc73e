"""Schemas of any kind: from a ``.bfbs`` file as it is, from a ``.fbs`` file by way of flatc."""

from __future__ import annotations

import shutil
import struct
import sysconfig
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import procs
from harness.errors import ConfigError, nearest
from harness.helpers.flatbuffers.buffers import (
    BadBuffer,
    file_identifier,
    head_of,
    looks_size_prefixed,
    without_size,
)
from harness.helpers.flatbuffers.decoding import Decoder
from harness.helpers.flatbuffers.encoding import Encoder
from harness.helpers.flatbuffers.model import Base, Enum, Field, Model, Object, Type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COMPILE_TIMEOUT = 30.0
IDENTIFIER_LENGTH = 4


# The schema of schemas, as far as it is needed here, numbered as in reflection/reflection.fbs.


def _of(name: str, *fields: tuple[int, str, Type, float]) -> Object:
    return Object(name, tuple(Field(label, kind, slot, default=default) for slot, label, kind, default in fields))


_TEXT, _LONG, _BOOL, _INT = Type(Base.STRING), Type(Base.LONG), Type(Base.BOOL), Type(Base.INT)
_BYTE, _USHORT, _DOUBLE = Type(Base.BYTE), Type(Base.USHORT), Type(Base.DOUBLE)
_OBJECT, _ENUM, _FIELD, _MEMBER, _TYPE, _ATTRIBUTE = range(1, 7)


def _table(index: int) -> Type:
    return Type(Base.OBJ, index=index)


def _tables(index: int) -> Type:
    return Type(Base.VECTOR, Base.OBJ, index)


_REFLECTION = Model(
    (
        _of(
            "Schema",
            (0, "objects", _tables(_OBJECT), 0),
            (1, "enums", _tables(_ENUM), 0),
            (2, "file_ident", _TEXT, 0),
            (4, "root_table", _table(_OBJECT), 0),
        ),
        _of(
            "Object",
            (0, "name", _TEXT, 0),
            (1, "fields", _tables(_FIELD), 0),
            (2, "is_struct", _BOOL, 0),
            (3, "minalign", _INT, 0),
            (4, "bytesize", _INT, 0),
        ),
        _of(
            "Enum",
            (0, "name", _TEXT, 0),
            (1, "values", _tables(_MEMBER), 0),
            (2, "is_union", _BOOL, 0),
            (3, "underlying_type", _table(_TYPE), 0),
            (4, "attributes", _tables(_ATTRIBUTE), 0),
        ),
        _of(
            "Field",
            (0, "name", _TEXT, 0),
            (1, "type", _table(_TYPE), 0),
            (2, "id", _USHORT, 0),
            (3, "offset", _USHORT, 0),
            (4, "default_integer", _LONG, 0),
            (5, "default_real", _DOUBLE, 0),
            (6, "deprecated", _BOOL, 0),
            (7, "required", _BOOL, 0),
            (8, "key", _BOOL, 0),
            (9, "attributes", _tables(_ATTRIBUTE), 0),
            (11, "optional", _BOOL, 0),
            (13, "offset64", _BOOL, 0),
        ),
        _of("EnumVal", (0, "name", _TEXT, 0), (1, "value", _LONG, 0), (3, "union_type", _table(_TYPE), 0)),
        _of(
            "Type",
            (0, "base_type", _BYTE, 0),
            (1, "element", _BYTE, 0),
            (2, "index", _INT, -1),
            (3, "fixed_length", _USHORT, 0),
        ),
        _of("KeyValue", (0, "key", _TEXT, 0), (1, "value", _TEXT, 0)),
    ),
    (),
    "BFBS",
    0,
)


def _type(reflected: Mapping[str, Any] | None) -> Type:
    if reflected is None:
        return Type(Base.NONE)
    return Type(Base(reflected["base_type"]), Base(reflected["element"]), reflected["index"], reflected["fixed_length"])


def _attributes(reflected: Mapping[str, Any]) -> dict[str, str]:
    return {attribute["key"]: attribute["value"] or "" for attribute in reflected["attributes"] or ()}


def _field(reflected: Mapping[str, Any], tables: Sequence[str]) -> Field:
    attributes, kind = _attributes(reflected), _type(reflected["type"])
    if reflected["offset64"] or Base.VECTOR64 in (kind.base, kind.element):
        raise ValueError(f"field {reflected['name']} has 64-bit offsets, which cannot be read here")
    nested = attributes.get("nested_flatbuffer", "")
    matches = [name for name in tables if nested and (name == nested or name.endswith(f".{nested}"))]
    return Field(
        reflected["name"],
        kind,
        slot=reflected["id"],
        start=reflected["offset"],
        default=reflected["default_real"] if kind.base in (Base.FLOAT, Base.DOUBLE) else reflected["default_integer"],
        deprecated=reflected["deprecated"],
        required=reflected["required"],
        key=reflected["key"],
        optional=reflected["optional"],
        nested=tables.index(min(matches, key=len)) if matches else -1,
        align=int(attributes.get("force_align", "1")),
    )


def _enum(reflected: Mapping[str, Any]) -> Enum:
    members = reflected["values"]
    # Numbers of an unsigned 64-bit enum are kept in a signed field.
    mask = (1 << 64) - 1 if _type(reflected["underlying_type"]).base == Base.ULONG else -1
    return Enum(
        reflected["name"],
        {member["value"] & mask: member["name"] for member in members},
        is_union=reflected["is_union"],
        is_flags="bit_flags" in _attributes(reflected),
        types={member["value"]: _type(member["union_type"]) for member in members} if reflected["is_union"] else {},
    )


def _object(reflected: Mapping[str, Any], tables: Sequence[str]) -> Object:
    return Object(
        reflected["name"],
        tuple(_field(field_, tables) for field_ in sorted(reflected["fields"], key=lambda field_: int(field_["id"]))),
        is_struct=reflected["is_struct"],
        align=reflected["minalign"],
        size=reflected["bytesize"],
    )


def _model(bfbs: bytes) -> Model:
    """Return the schema in a ``.bfbs``. Raises BadBuffer or, as it trips, others for what is none."""
    if file_identifier(bfbs) != "BFBS":
        raise BadBuffer(f"A file identifier {file_identifier(bfbs)!r} was seen, 'BFBS' was needed")
    schema = Decoder(_REFLECTION, 0).decode(bfbs, "BFBS")
    names = [object_["name"] for object_ in schema["objects"]]
    root = schema["root_table"]
    return Model(
        tuple(_object(object_, names) for object_ in schema["objects"]),
        tuple(_enum(enum) for enum in schema["enums"]),
        schema["file_ident"] or "",
        names.index(root["name"]) if root else -1,
    )


# For users


@dataclass(frozen=True)
class Schema:
    """What a schema file says, ready to read and write messages of one root table.

    Attributes:
        path: its file.
        identifier: the file identifier of its messages, "" for none.
        root: the name of the root table, with its namespace.
    """

    path: Path
    identifier: str
    root: str
    _decoder: Decoder = field(repr=False, compare=False)
    _encoder: Encoder = field(repr=False, compare=False)

    def decode(self, buffer: bytes, *, size_prefixed: bool = False) -> dict[str, Any]:
        """Return a message as a dict with all fields of its root table, absent ones with their defaults or None.

        Tables and structs are dicts, enums names (flags lists of names; numbers without a name stay numbers), vectors
        of numbers and booleans read-only numpy arrays, other vectors and fixed arrays lists. A union ``x`` has the
        name of its member in ``x_type``.

        Args:
            buffer: a whole message.
            size_prefixed: whether four bytes with its size come first.

        Raises:
            BadBuffer: it has another identifier, is truncated or malformed.
        """
        message = without_size(buffer) if size_prefixed else buffer
        identifier = file_identifier(message)
        if self.identifier and identifier != self.identifier:
            hint = "it looks size-prefixed: size_prefixed=True" if looks_size_prefixed(message) else ""
            raise BadBuffer(
                f"A message of schema {identifier!r} came, {self.identifier!r} was needed (head: {head_of(message)})",
                hint=hint,
            )
        return self._decoder.decode(message, self.identifier or self.root)

    def encode(self, value: Mapping[str, Any], *, size_prefixed: bool = False) -> bytes:
        """Return the fields in ``value``, in the shape that ``decode`` gives, as a message.

        Vectors of tables or structs with a key are sorted by it, as receivers that search them need.

        Raises:
            BadValue: a field is unknown, missing, or holds what its type cannot.
        """
        return self._encoder.encode(value, identifier=self.identifier, size_prefixed=size_prefixed)


def read_schema(
    path: str | Path, *, include: Sequence[str | Path] = (), root: str = "", identifier: str = ""
) -> Schema:
    """Read a schema, without registering it.

    Args:
        path: a ``.bfbs``, or a ``.fbs``, which flatc compiles.
        include: folders for ``include`` in a ``.fbs``, besides its own.
        root: the root table, if not the one that the file declares.
        identifier: the file identifier, if not the one that the file declares.

    Raises:
        ConfigError: the file is missing or wrong, has no such root, or flatc is missing.
    """
    path = Path(path)
    try:
        bfbs = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"Schema {path} cannot be read: {error.strerror}") from error
    if path.suffix == ".fbs":
        bfbs = _compiled(path, include)
    elif path.suffix != ".bfbs":
        raise ConfigError(f"Schema {path} is neither .fbs nor .bfbs")
    try:
        model = _model(bfbs)
        chosen = _root(model, root, path)
        decoder = Decoder(model, chosen)
    except (BadBuffer, ValueError, TypeError, LookupError, struct.error, RecursionError) as error:
        raise ConfigError(f"Schema {path} is no binary schema that can be used: {error}") from error
    identifier = identifier or model.identifier
    if identifier and len(identifier.encode()) != IDENTIFIER_LENGTH:
        raise ConfigError(f"Schema {path}: the identifier {identifier!r} does not have {IDENTIFIER_LENGTH} bytes")
    return Schema(path, identifier, model.objects[chosen].name, decoder, Encoder(model, chosen))


def _root(model: Model, name: str, path: Path) -> int:
    tables = {table.name: index for index, table in enumerate(model.objects) if not table.is_struct}
    if not name and model.root >= 0:
        return model.root
    if not name:
        raise ConfigError(f"Schema {path} declares no root_type", hint=f"give root=, one of: {', '.join(tables)}")
    matches = [index for full, index in tables.items() if full == name or full.endswith(f".{name}")]
    if len(matches) != 1:
        seen = "no table" if not matches else "several tables"
        raise ConfigError(f"Schema {path} has {seen} {name!r}{nearest(name, tables)}", hint=f"has: {', '.join(tables)}")
    return matches[0]


def _compiled(path: Path, include: Sequence[str | Path]) -> bytes:
    flatc = shutil.which("flatc", path=sysconfig.get_path("scripts")) or shutil.which("flatc")
    if flatc is None:
        raise ConfigError(
            f"Schema {path} needs flatc, which is not there",
            hint="install integration-harness[flatbuffers] or your system's flatbuffers-compiler, or give a .bfbs",
        )
    folders = [part for folder in include for part in ("-I", str(folder))]
    with tempfile.TemporaryDirectory(prefix="harness-fbs-") as out:
        # Without the built-in attributes nothing would tell of bit_flags and nested_flatbuffer.
        argv = [flatc, "-b", "--schema", "--bfbs-builtins", *folders, "-o", out, str(path)]
        done = procs.run(argv, timeout=COMPILE_TIMEOUT)
        if done.code != 0:
            fault = "took too long" if done.code is None else "was refused by flatc"
            raise ConfigError(f"Schema {path} {fault}", details=(done.stdout + done.stderr).strip().splitlines()[:20])
        return (Path(out) / f"{path.stem}.bfbs").read_bytes()

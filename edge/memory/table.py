"""A ring of fixed rows of numbers in one file, which a kill at any moment leaves readable. It knows no machine.

    header    4096 bytes of JSON: what the columns are, how many rows there may be, whose they are
    row ...   CRC-32 of the rest, a number that only rises, the columns; the oldest is written over

The header is there whole before the first row is. A row that was torn has a wrong check sum, and is passed over. Which
row is newest is told by its number: a clock may lie. Nothing is synced: the kernel writes within half a minute, and
what a power cut takes is a batch.
"""

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import EarshotError
from edge.memory.shelf import write_whole

HEADER_BYTES: Final = 4096
READ_ROWS: Final = 256
"""Read at once: half a megabyte of minutes."""

SCHEMA: Final = 1
LARGEST_ROW: Final = 1 << 20

Rows = NDArray[np.void]
Column = tuple[str, str, tuple[int, ...]]
"""Its name, its type in numpy's words (`<f2`), its shape."""


@dataclass(frozen=True)
class Layout:
    """What stands in the header: the columns of a row, how many rows there may be, and what they are about."""

    columns: tuple[Column, ...]
    capacity: int
    about: Mapping[str, Any]

    @property
    def dtype(self) -> np.dtype[np.void]:
        """A row, packed; `check` and `number` are the table's own."""
        return np.dtype([("check", "<u4"), ("number", "<u8"), *self.columns])

    @cached_property
    def header(self) -> bytes:
        """The header, without what fills it up. Raises ValueError if it is too long."""
        content = {"schema": SCHEMA, "columns": self.columns, "capacity": self.capacity, "about": dict(self.about)}
        text = json.dumps(content, sort_keys=True).encode()
        if len(text) > HEADER_BYTES:
            raise ValueError(f"a header of {len(text)} bytes: expected at most {HEADER_BYTES}")
        return text

    @property
    def identity(self) -> str:
        """16 hexadecimal digits: rows of two layouts with the same ones can stand in one file."""
        return hashlib.sha256(self.header).hexdigest()[:16]

    def empty(self, n: int = 0) -> Rows:
        """Return n rows of zeros."""
        return np.zeros(n, self.dtype)


class Table:
    """One file. What it remembers is where the next row goes; for one thread. Nothing is opened before `append`."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self.layout = layout
        self._row_bytes = layout.dtype.itemsize
        self._seed = zlib.crc32(layout.header)
        self._next: int | None = None

    def append(self, rows: Rows) -> int:
        """Write rows, each with its number (>= 1, rising); return how many bytes that was. Raises OSError.

        After an error the same rows may be given again: they take the same place.
        """
        written = 0
        if self._next is None or not self.path.exists():
            written += self._create()
        assert self._next is not None
        first = self._next
        for part in np.split(rows[-self.layout.capacity :], [self.layout.capacity - first]):
            written += self._write(self._checked(part), first) if part.size else 0
            first = (first + part.size) % self.layout.capacity
        self._next = first
        return written

    def _create(self) -> int:
        """Find the place of the next row; make the file where there is none."""
        if self.path.exists():
            self._next = self._place_after_newest()
            return 0
        self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        write_whole(self.path, self.layout.header.ljust(HEADER_BYTES))
        self._next = 0
        return HEADER_BYTES

    def _place_after_newest(self) -> int:
        newest, place = 0, -1
        for start, rows in _chunks(self.path, self.layout):
            whole = np.flatnonzero(_is_whole(rows, self._seed))
            if whole.size and (number := int(rows["number"][whole].max())) > newest:
                newest, place = number, start + int(whole[rows["number"][whole].argmax()])
        return (place + 1) % self.layout.capacity

    def _checked(self, rows: Rows) -> bytes:
        rows = rows.copy()
        rows["check"] = _checks(rows, self._seed)
        return rows.tobytes()

    def _write(self, data: bytes, place: int) -> int:
        with self.path.open("r+b", buffering=0) as file:
            file.seek(HEADER_BYTES + place * self._row_bytes)
            left = memoryview(data)
            while left:  # a disk that fills up takes a part, and refuses the rest
                left = left[file.write(left) :]
        return len(data)


def read_layout(path: Path) -> Layout:
    """Return what the header says. Raises OSError, and EarshotError if it is none."""
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
    try:
        content = json.loads(header)
        schema = content["schema"]
        columns = tuple((str(name), str(kind), tuple(map(int, shape))) for name, kind, shape in content["columns"])
        layout = Layout(columns, int(content["capacity"]), dict(content["about"]))
        row_bytes = layout.dtype.itemsize
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise EarshotError(f"{path}: {error}: expected a table of schema {SCHEMA}") from error
    if schema != SCHEMA or layout.capacity < 1 or row_bytes > LARGEST_ROW or layout.dtype.hasobject:
        raise EarshotError(
            f"{path}: schema {schema}, {layout.capacity} rows of {row_bytes} bytes: expected a table of schema {SCHEMA}"
        )
    return layout


def read_rows(path: Path, layout: Layout, names: Sequence[str] | None = None) -> Rows:
    """Return the rows that are whole, the oldest first; of their columns `number` and those of `names` (None: all).

    Raises OSError.
    """
    seed, found = zlib.crc32(layout.header), [chosen(layout.empty(), names)]
    for _, rows in _chunks(path, layout):
        found.append(chosen(rows[_is_whole(rows, seed)], names))
    joined = np.concatenate(found)
    return joined[np.argsort(joined["number"], kind="stable")]


def chosen(rows: Rows, names: Sequence[str] | None) -> Rows:
    """Return rows with `number` and the columns of `names` alone (None: all)."""
    if names is None:
        return rows
    some = np.zeros(rows.size, [(name, rows.dtype[name]) for name in ("number", *names)])
    for name in some.dtype.names or ():
        some[name] = rows[name]
    return some


def _chunks(path: Path, layout: Layout) -> Iterator[tuple[int, Rows]]:
    """Yield some rows at a time, whole or not, and the place of the first."""
    row_bytes, place = layout.dtype.itemsize, 0
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        while place < layout.capacity:
            data = file.read(min(READ_ROWS, layout.capacity - place) * row_bytes)
            rows = np.frombuffer(data[: len(data) - len(data) % row_bytes], layout.dtype)
            if not rows.size:
                return
            yield place, rows
            place += rows.size


def _is_whole(rows: Rows, seed: int) -> NDArray[np.bool_]:
    return np.asarray((rows["check"] == _checks(rows, seed)) & (rows["number"] > 0))


def _checks(rows: Rows, seed: int) -> NDArray[np.uint32]:
    size = rows.dtype.itemsize
    data = memoryview(rows.tobytes())
    return np.array([zlib.crc32(data[i + 4 : i + size], seed) for i in range(0, len(data), size)], np.uint32)

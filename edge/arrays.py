"""Plain arrays out of an `.npz` that a stranger may have made: numbers, none unpacked that was not measured before.

numpy's own reader makes room for whatever a header promises, unpickles or runs into errors of six libraries.
"""

import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import shown

Array = NDArray[Any]

MOST_ARRAYS_BYTES: Final = 256 << 20
"""Packed, and unpacked. A section has 0.2 to 2 MB."""

MOST_MEMBERS: Final = 200_000
_ENTRY: Final = b"PK\1\2"
_MOST_HEADER_BYTES: Final = 10_000
_MOST_AXES: Final = 8
_HEADERS: Final = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def arrays_of(data: bytes) -> Mapping[str, Array]:
    """Return the arrays of an `.npz`, none of which can be written to, by their names.

    Raises ValueError that names the array, what came and what was expected.
    """
    if data.count(_ENTRY) > MOST_MEMBERS:
        raise ValueError(f"holds more than {MOST_MEMBERS} arrays")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as stored:
            members = stored.infolist()
            if (unpacked := sum(member.file_size for member in members)) > MOST_ARRAYS_BYTES:
                raise ValueError(f"unpacks to {unpacked} bytes: expected {MOST_ARRAYS_BYTES} at most")
            arrays = {_name(member): _array(member, stored) for member in members}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(f"not an .npz: {shown(error)}") from error
    if len(arrays) < len(members):
        raise ValueError("an array stands in it twice: expected each once")
    return arrays


def _name(member: zipfile.ZipInfo) -> str:
    return member.filename.removesuffix(".npy")


def _array(member: zipfile.ZipInfo, stored: zipfile.ZipFile) -> Array:
    name = shown(_name(member))[:100]
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is packed by method {member.compress_type}: expected none, or deflate")
    data = stored.read(member)
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        shape, is_fortran, dtype = _HEADERS[version](stream, max_header_size=_MOST_HEADER_BYTES)
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{name} is no array: {shown(error)[:200]}") from error
    if dtype.kind not in "fiu" or not dtype.isnative or dtype.itemsize > 8:
        raise ValueError(f"{name} is of {shown(dtype)[:40]}: expected numbers, little-endian")
    there, promised = len(data) - stream.tell(), math.prod(shape) * dtype.itemsize
    if promised != there or min(shape, default=0) < 0 or len(shape) > _MOST_AXES:
        raise ValueError(f"{name} of shape {shape}, {dtype}, has {there} bytes: expected {promised}")
    flat = np.frombuffer(data, dtype, offset=stream.tell()) if there else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if is_fortran else "C")

"""What an ONNX file holds, read without running any of it: whether a step of it can have no end, or reads other files.

A graph within a graph is a loop or a branch: it may run for ever, and on some sounds only, so no trial would tell.
Weights in files beside it are what no check sum has seen. None of our networks has either.

https://github.com/onnx/onnx/blob/main/onnx/onnx.proto names the fields by these numbers, and promises to keep them.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

_MODEL_GRAPH: Final = 7
_MODEL_FUNCTION: Final = 25
_FUNCTION_NODE: Final = 7
_GRAPH_NODE: Final = 1
_GRAPH_TENSORS: Final = 5
_NODE_OPERATOR: Final = 4
_NODE_ATTRIBUTE: Final = 5
_ATTRIBUTE_TENSORS: Final = (5, 10)
_ATTRIBUTE_GRAPHS: Final = (6, 11)
_TENSOR_ELSEWHERE: Final = (13, 14)

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
"""Wire types: https://protobuf.dev/programming-guides/encoding"""


class _Field(NamedTuple):
    number: int
    value: memoryview
    """Of what has bytes; of a number nothing is needed but that it is there, and not zero."""
    is_set: bool


def check_graph(model: bytes) -> None:
    """Raise ValueError if the graph of an ONNX file repeats, chooses or reads other files, or cannot be read at all."""
    for each in _fields(memoryview(model)):
        if each.number == _MODEL_GRAPH:
            _check_parts(each.value, _GRAPH_NODE)
        elif each.number == _MODEL_FUNCTION:
            _check_parts(each.value, _FUNCTION_NODE)


def _check_parts(graph: memoryview, node_number: int) -> None:
    for each in _fields(graph):
        if each.number == node_number:
            _check_node(each.value)
        elif each.number == _GRAPH_TENSORS:
            _check_tensor(each.value)


def _check_node(node: memoryview) -> None:
    fields = list(_fields(node))
    operator = next(
        (bytes(each.value).decode(errors="replace") for each in fields if each.number == _NODE_OPERATOR), ""
    )
    for attribute in fields:
        if attribute.number != _NODE_ATTRIBUTE:
            continue
        for each in _fields(attribute.value):
            if each.number in _ATTRIBUTE_GRAPHS:
                raise ValueError(
                    f"{operator[:40]!r} has a graph of its own: expected steps that neither repeat nor choose"
                )
            if each.number in _ATTRIBUTE_TENSORS:
                _check_tensor(each.value)


def _check_tensor(tensor: memoryview) -> None:
    if any(each.number in _TENSOR_ELSEWHERE and each.is_set for each in _fields(tensor)):
        raise ValueError("has weights in another file: expected all of them in this one")


def _fields(message: memoryview) -> Iterator[_Field]:
    """Yield the fields of a protobuf message. Raises ValueError if it is none."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire, length = key & 7, 0
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield _Field(key >> 3, message[:0], value != 0)
            continue
        if wire == _BYTES:
            length, at = _varint(message, at)
        elif wire in (_FIXED_64, _FIXED_32):
            length = 8 if wire == _FIXED_64 else 4
        else:
            raise ValueError(f"holds a field of type {wire}: expected an ONNX graph")
        if at + length > len(message):
            raise ValueError("ends in the middle of a field: expected an ONNX graph")
        yield _Field(key >> 3, message[at : at + length], is_set=True)
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the number at `at`, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
    raise ValueError("ends in the middle of a number: expected an ONNX graph")

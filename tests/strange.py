"""Detector folders as a stranger might send them, or a worn card: one thing in a good one is changed, by chance.

`mutate` draws what, where and into what from hypothesis, so that a case that fails is found again, and made small.
"""

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]

NUMBERS: Final = (0, -1, 1, 2, 0.5, -0.5, 1e-300, 1e30, -1e30, 1e300, math.nan, math.inf, -math.inf, 10**400, 2**63)
TEXTS: Final = ("", "x", "../../../etc/passwd", "/dev/zero", "a\nb\x1b[2J", "ü" * 300, "pump/00", "source", "nan")
OTHERS: Final[tuple[Any, ...]] = (None, True, False, [], {}, [[]], [None], {"": None}, [1, "x"], {"a": {"b": []}})


def mutate(folder: Path, draw: Draw) -> str:
    """Change one thing in a detector folder; return what, in words. Its check sums are mostly made to fit again."""
    kind = draw(st.sampled_from(["array"] * 5 + ["value"] * 5 + ["file"] * 2 + ["container", "recording", "graph"]))
    what = {
        "array": _array,
        "value": _value,
        "file": _file,
        "container": _container,
        "recording": _recording,
        "graph": _graph,
    }[kind](folder, draw)
    if kind not in ("value",) and draw(st.integers(0, 9)):
        rehash(folder)
    return f"{kind}: {what}"


def rehash(folder: Path) -> None:
    """Have `detector.json` say what lies beside it now, as far as that can be read."""
    path = folder / "detector.json"
    if not path.is_file() or path.stat().st_size > 1 << 20:
        return
    try:
        card = json.loads(path.read_text())
        for name in card["files"]:
            if (folder / name).is_file() and (folder / name).stat().st_size < 1 << 28:
                card["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    except (ValueError, KeyError, TypeError):
        return
    _replace(path, json.dumps(card).encode())


def _replace(path: Path, data: bytes) -> None:
    """Write a new file: the old one may be a link to what all mutations share."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


# --- Arrays ---


def _array(folder: Path, draw: Draw) -> str:
    path = folder / "scorer.npz"
    with np.load(path) as stored:
        arrays: dict[str, Any] = dict(stored)
    name = draw(st.sampled_from(sorted(arrays)))
    array = arrays.pop(name)
    how = draw(st.sampled_from(["shape", "type", "values", "values", "missing", "elsewhere", "empty"]))
    if how == "shape":
        others = [array.T, array.ravel(), array[np.newaxis], array[:1], array[..., :-1], array[::-1]]
        array = others[draw(st.integers(0, len(others) - 1))]
    elif how == "type":
        kind = draw(st.sampled_from(["f2", "f8", "i4", "u1", "U5", "c8", "?", ">f4", "S3", "M8[s]", "V4"]))
        with np.errstate(all="ignore"):
            array = np.zeros(array.shape, kind) if kind in ("M8[s]", "V4") else array.astype(kind)
    elif how == "values":
        array = array.astype(np.float64) if draw(st.booleans()) else array.copy()
        at = draw(st.integers(0, array.size - 1))
        number = draw(st.sampled_from([n for n in NUMBERS if n != 10**400]))
        with np.errstate(all="ignore"):
            value = np.float64(number).astype(array.dtype)
            if draw(st.booleans()):
                array[...] = value
            else:
                array.flat[at] = value
    elif how == "empty":
        array = array[:0]
    if how != "missing":
        arrays[name if how != "elsewhere" else f"{name}x"] = array
    path.unlink()
    np.savez(path, **arrays)
    return f"{name}: {how}, {getattr(array, 'dtype', '')} {getattr(array, 'shape', '')}"


# --- Values of detector.json ---


def _value(folder: Path, draw: Draw) -> str:
    path = folder / "detector.json"
    card = json.loads(path.read_text())
    *way, last = _places(card)[draw(st.integers(0, len(_places(card)) - 1))]
    holder = card
    for step in way:
        holder = holder[step]
    how = draw(st.sampled_from(["other", "other", "other", "missing", "twice", "deep", "named"]))
    value: Any = None
    if how == "other":
        value = draw(st.sampled_from([*NUMBERS, *TEXTS, *OTHERS]))
        holder[last] = value
    elif how == "missing":
        del holder[last]
    elif how == "named" and isinstance(holder, dict):
        holder[draw(st.sampled_from(TEXTS))] = holder.pop(last)
    text = json.dumps(card, default=str)
    if how == "twice":
        text = text.replace("{", '{"name": "again", "name": "and again", ', 1)
    elif how == "deep":
        n = draw(st.sampled_from([40, 2_000, 200_000]))
        text = text.replace('"metrics": {', '"metrics": {"deep": ' + "[" * n + "]" * n + ", ", 1)
    _replace(path, text.encode())
    return f"{'.'.join(map(str, [*way, last]))}: {how} {str(value)[:60]!r}"


def _places(value: object, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, child in children for place in [(*way, key), *_places(child, (*way, key))]]


# --- Files ---


def _file(folder: Path, draw: Draw) -> str:
    name = draw(st.sampled_from(["detector.json", "scorer.npz", "model.onnx", "golden.flac", "MODEL_CARD.md"]))
    how: str = draw(st.sampled_from(KINDS))
    path = folder / name
    data = path.read_bytes()
    path.unlink()
    _lay(path, data, how, draw)
    return f"{name}: {how}"


KINDS: Final = (
    *("missing", "empty", "a folder", "a pipe", "a device", "a link out", "a link to itself"),
    *("cut", "flipped", "noise", "vast"),
)


def _lay(path: Path, data: bytes, how: str, draw: Draw) -> None:
    """Lay something of that kind where a file with `data` was."""
    match how:
        case "empty":
            path.touch()
        case "a folder":
            path.mkdir()
        case "a pipe":
            os.mkfifo(path)
        case "a device":
            path.symlink_to("/dev/zero")
        case "a link out":
            path.symlink_to("/etc/hostname")
        case "a link to itself":
            path.symlink_to(path)
        case "cut":
            path.write_bytes(data[: draw(st.integers(0, len(data) - 1))])
        case "flipped":
            bits = bytearray(data)
            for _ in range(draw(st.integers(1, 4))):
                bits[draw(st.integers(0, len(bits) - 1))] ^= 1 << draw(st.integers(0, 7))
            path.write_bytes(bits)
        case "noise":
            path.write_bytes(draw(st.binary(max_size=300)))
        case "vast":
            path.write_bytes(data)
            os.truncate(path, 50 << 30)  # of holes


# --- Containers, recordings, graphs ---


def _container(folder: Path, draw: Draw) -> str:
    path = folder / "scorer.npz"
    with zipfile.ZipFile(path) as stored:
        members = {each.filename: stored.read(each) for each in stored.infolist()}
    how: str = draw(st.sampled_from(["bomb", "twice", "lzma", "deflated", "no array", "huge shape", "pickled"]))
    path.unlink()
    pack = {"lzma": zipfile.ZIP_LZMA, "bomb": zipfile.ZIP_DEFLATED, "deflated": zipfile.ZIP_DEFLATED}
    name = draw(st.sampled_from(sorted(members)))
    header = np.lib.format.magic(1, 0) + (118).to_bytes(2, "little")
    if how == "huge shape":
        words = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"
        members[name] = header + words.ljust(117).encode() + b"\n"
    elif how == "pickled":
        words = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
        members[name] = header + words.ljust(117).encode() + b"\ncos\nsystem\n."
    elif how == "no array":
        members[name] = draw(st.binary(max_size=100))
    with zipfile.ZipFile(path, "w", pack.get(how, zipfile.ZIP_STORED)) as stored:
        for key, data in members.items():
            stored.writestr(key, data)
        if how == "twice":
            stored.writestr(f"./{name}", members[name])
            stored.writestr(zipfile.ZipInfo(name), members[name])
        if how == "bomb":
            stored.writestr("bomb.npy", bytes(300 << 20))
    return how


def _recording(folder: Path, draw: Draw) -> str:
    path, rng = folder / "golden.flac", np.random.default_rng(0)
    how: str = draw(st.sampled_from(["hours", "noise", "silence", "short", "slow", "two channels", "wave"]))
    path.unlink()
    noise = rng.uniform(-0.5, 0.5, 16_000 * 12)
    if how == "hours":
        with soundfile.SoundFile(path, "w", 16_000, 1, format="FLAC") as file:
            for _ in range(20):
                file.write(np.zeros(16_000 * 60))
    else:
        sound = {"silence": np.zeros(16_000 * 12), "short": noise[:5000], "two channels": np.stack([noise, noise], 1)}
        rate_hz = 8_000 if how == "slow" else 16_000
        soundfile.write(path, sound.get(how, noise), rate_hz, format="WAV" if how == "wave" else "FLAC")
    return how


def _graph(folder: Path, draw: Draw) -> str:
    import onnx
    from onnx import TensorProto, numpy_helper

    path = folder / "model.onnx"
    model = onnx.load(path)
    graph = model.graph
    hows = ("weights", "shape", "open", "name", "type", "loop", "elsewhere", "operator", "dropped")
    how: str = draw(st.sampled_from(hows))
    tensors = [each for each in graph.initializer if each.data_type == TensorProto.FLOAT]
    ends = [*graph.input, *graph.output]
    end = ends[draw(st.integers(0, len(ends) - 1))]
    axes = end.type.tensor_type.shape.dim
    axis = axes[draw(st.integers(0, len(axes) - 1))]
    if how == "weights":
        tensor = tensors[draw(st.integers(0, len(tensors) - 1))]
        changed = numpy_helper.to_array(tensor) * np.float32(draw(st.sampled_from([0, -1, 1e10, math.nan, math.inf])))
        tensor.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), tensor.name))
    elif how == "shape":
        axis.dim_value = draw(st.sampled_from([1, 2, 3, 16, 127, 10**9]))
    elif how == "open":
        axis.dim_param = "whatever"
    elif how == "name":
        end.name = f"{end.name}x"
    elif how == "type":
        end.type.tensor_type.elem_type = TensorProto.DOUBLE
    elif how == "loop":
        graph.node.insert(0, endless_loop())
    elif how == "elsewhere":
        tensors[0].data_location = TensorProto.EXTERNAL
        tensors[0].external_data.add(key="location", value="/etc/passwd")
    elif how == "operator":
        node = graph.node[draw(st.integers(0, len(graph.node) - 1))]
        node.op_type = draw(st.sampled_from(["Neg", "Sqrt", "Nothing"]))
    else:
        del graph.node[draw(st.integers(0, len(graph.node) - 1))]
    _replace(path, model.SerializeToString())
    return how


def endless_loop() -> Any:  # noqa: ANN401  a NodeProto, and onnx ships no types
    """Return a node that repeats for ever."""
    from onnx import TensorProto, helper

    true = helper.make_tensor("true", TensorProto.BOOL, [], [True])
    body = helper.make_graph(
        [helper.make_node("Constant", [], ["again"], value=true)],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("again", TensorProto.BOOL, [])],
    )
    return helper.make_node("Loop", ["", ""], [], body=body)

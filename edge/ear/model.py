"""The streaming contract of every network, so that nothing else knows which one runs.

    inputs    features  (N, 1, M, 16*m)   log-mel frames in dB, m hops of N streams
              state.*   (N, ...)          the cache, zeros after a reset
    outputs   embedding (N, m, D)         and
              logits    (N, m, k)           of the whole window that ends with each hop; both or neither
              texture   (N, m, C, R)      and
              quiet     (N, m, R)         an early map, channels by frequency rows, summed over the hop with weights
                                            that fall with the level, and their sum; both or neither
              next.state.*                the cache to pass with the next hops, in the order of the inputs

N and m may each be free or fixed by the graph; a graph with m fixed is stepped hop by hop. The numbers are the same.
A graph whose only state is `state.frames`, (N, 1, M, W - 16), and that has no early map, computes windows of W frames
whole: it need run only where a window is wanted.
"""

import copy
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.ear.frontend import Features
from edge.ear.graph import check_graph
from edge.ear.ring import HOP_FRAMES
from edge.errors import DetectorError, shown
from edge.files import read_plain

# onnxruntime 1.32 reports usage to its maker unless it is told not to before it is loaded. Nothing leaves a device but
# over MQTT.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

Cache = tuple[NDArray[np.float32], ...]

MOST_GRAPH_BYTES: Final = 64 << 20
"""Of a graph. The paper's network has 3 MB."""

MOST_NUMBERS: Final = 1 << 20
"""Of one output for one hop, and of one part of the cache: 4 MB. The paper's network keeps 0.1 MB in all."""

_STATE: Final = "state."
_FRAMES: Final = "state.frames"


class Heard(NamedTuple):
    """What N streams' m newest hops give: embedding (N, m, D), logits (N, m, k), texture (N, m, C, R), quiet (N, m, R).

    Of an output that a graph has not, the last axis is empty.
    """

    embedding: NDArray[np.float32]
    logits: NDArray[np.float32]
    texture: NDArray[np.float32]
    quiet: NDArray[np.float32]


class Model:
    """An ONNX network that steps hop by hop; it holds no state of any stream, so that streams may share it."""

    def __init__(self, path: Path, data: bytes | None = None) -> None:
        """Load the graph. Raises DetectorError if it cannot be read or does not keep the contract.

        data: what lies at `path`, where that was read already.
        """
        try:
            data = read_plain(path, MOST_GRAPH_BYTES) if data is None else data
            check_graph(data)
            self._session = _session(data)
            self._run_options: onnxruntime.RunOptions | None = None
            inputs, outputs = _shapes(self._session.get_inputs()), _shapes(self._session.get_outputs())
            _check_names(inputs, outputs)
            self._measure(inputs, outputs)
        except OSError as error:
            raise DetectorError(f"{shown(path)}: {error.strerror or error}") from error
        except ValueError as error:
            raise DetectorError(f"{shown(path)}: {error}") from error

    def _measure(self, inputs: "_Shapes", outputs: "_Shapes") -> None:
        """Note every size that has to be known. Raises ValueError where one is not, or nobody could mean it."""
        _, self.n_mels, hop_frames = _sizes(inputs, "features", (1, None, 0))
        self._takes_many_hops = not hop_frames
        if hop_frames not in (0, HOP_FRAMES):
            raise ValueError(f"features of {hop_frames} frames: expected {HOP_FRAMES}, or a number that is left open")
        self._state_names = [name for name in inputs if name.startswith(_STATE)]
        self._next_names = [f"next.{name}" for name in self._state_names]
        self._state_shapes = [_sizes(inputs, name, [None] * (len(inputs[name]) - 1)) for name in self._state_names]

        self._outputs = [name for name in Heard._fields if name in outputs]
        self.embedding_dim = _sizes(outputs, "embedding", (0, None))[1] if "embedding" in outputs else 0
        self.n_classes = _sizes(outputs, "logits", (0, None))[1] if "logits" in outputs else 0
        _, *texture = _sizes(outputs, "texture", (0, None, None)) if "texture" in outputs else (0, 0, 0)
        self.texture_shape = (texture[0], texture[1])
        self.texture_dim = math.prod(self.texture_shape)
        if "quiet" in outputs and (rows := _sizes(outputs, "quiet", (0, None))[1]) != self.texture_shape[1]:
            raise ValueError(f"quiet of {rows} rows: expected {self.texture_shape[1]}, as texture has")
        self.whole_frames = self._whole_frames()

    def _whole_frames(self) -> int | None:
        """Return how many frames the windows have that the graph computes whole; None where it goes on from a cache."""
        if self._state_names != [_FRAMES] or self.texture_shape[0]:
            return None
        *of_frames, past = self._state_shapes[0]
        return past + HOP_FRAMES if of_frames == [1, self.n_mels] else None

    def without_texture(self) -> "Model":
        """Return the same network, its weights shared, which does not compute its early map."""
        if not self.texture_dim or not self.embedding_dim:
            return self
        other = copy.copy(self)
        other._outputs = [name for name in self._outputs if name in ("embedding", "logits")]
        other.texture_shape, other.texture_dim = (0, 0), 0
        other._run_options = onnxruntime.RunOptions()
        other._run_options.only_execute_path_to_fetches = True
        return other

    def empty_cache(self, n_streams: int = 1) -> Cache:
        """Return the cache of streams that have heard nothing."""
        return tuple(np.zeros((n_streams, *shape), np.float32) for shape in self._state_shapes)

    def of_window(self, window: Features) -> Heard:
        """Return what a graph that computes windows whole gives of one, (M, whole_frames): one stream, one hop."""
        past, newest = window[:, :-HOP_FRAMES], window[:, -HOP_FRAMES:]
        return self(newest[np.newaxis], (past[np.newaxis, np.newaxis],))[0]

    def __call__(self, features: Features, cache: Cache) -> tuple[Heard, Cache]:
        """Step N streams by m hops; return what they give, and the next cache.

        features: log-mel frames in dB, shape (N, M, 16 * m), float32.
        Raises ValueError if the frames are not whole hops.
        """
        if features.ndim != 3 or features.shape[2] % HOP_FRAMES or not features.shape[2]:
            raise ValueError(
                f"features of shape {features.shape}: expected (N, {self.n_mels}, {HOP_FRAMES} * m), m >= 1"
            )
        if self._takes_many_hops:
            return self._run(features, cache)

        steps = []
        for start in range(0, features.shape[2], HOP_FRAMES):
            heard, cache = self._run(features[:, :, start : start + HOP_FRAMES], cache)
            steps.append(heard)
        return Heard(*(np.concatenate(hops, axis=1) for hops in zip(*steps, strict=True))), cache

    def _run(self, features: Features, cache: Cache) -> tuple[Heard, Cache]:
        feeds = dict(zip(self._state_names, cache, strict=True))
        feeds["features"] = np.ascontiguousarray(features[:, np.newaxis], np.float32)
        values = self._session.run([*self._outputs, *self._next_names], feeds, self._run_options)
        given = dict(zip(self._outputs, values, strict=False))
        n_streams, n_hops = len(features), features.shape[2] // HOP_FRAMES
        nothing = np.empty((n_streams, n_hops, 0, 0), np.float32)
        heard = Heard(
            given.get("embedding", nothing.reshape(n_streams, n_hops, 0)),
            given.get("logits", nothing.reshape(n_streams, n_hops, 0)),
            given.get("texture", nothing),
            given.get("quiet", nothing.reshape(n_streams, n_hops, 0)),
        )
        return heard, tuple(values[len(self._outputs) :])


_Shapes = Mapping[str, Sequence[object]]
"""Of each input or output: a number, or anything else where it is left open."""


def _session(data: bytes) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(data, _session_options(), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises types of its own, one for each status code
        raise ValueError(f"cannot be loaded as an ONNX model: {shown(error)}") from error


def _shapes(values: Sequence[Any]) -> dict[str, Sequence[object]]:
    """Return the shape of each input or output. Raises ValueError for one that holds anything but float32."""
    for value in values:
        if value.type != "tensor(float)":
            raise ValueError(f"{shown(value.name)} is a {value.type}: expected tensor(float)")
    return {value.name: value.shape for value in values}


def _check_names(inputs: _Shapes, outputs: _Shapes) -> None:
    states = [name for name in inputs if name.startswith(_STATE)]
    next_states = {f"next.{name}" for name in states}
    wholes = [{"embedding", "logits"}, {"embedding", "logits", "texture", "quiet"}, {"texture", "quiet"}]
    if set(inputs) != {"features", *states} or set(outputs) not in [whole | next_states for whole in wholes]:
        raise ValueError(
            f"inputs {_listed(inputs)} and outputs {_listed(outputs)}: expected {_listed(['features', *states])} and "
            f"{_listed(wholes[0] | next_states)}, with texture and quiet, or those instead of embedding and logits"
        )


def _listed(names: Iterable[str]) -> str:
    return shown(sorted(names))


def _sizes(shapes: _Shapes, name: str, expected: Sequence[int | None]) -> tuple[int, ...]:
    """Return the sizes of all axes but the first, the streams; 0 for one that is left open.

    expected: a number, None for any that is fixed, 0 for any that is fixed or left open.
    Raises ValueError where one is not so, or all together are more than `MOST_NUMBERS`.
    """
    shape = shapes[name]
    sizes = tuple(size if type(size) is int and size > 0 else 0 for size in shape[1:])
    fits = len(shape) == len(expected) + 1 and all(
        size > 0 if wanted is None else wanted in (0, size) for size, wanted in zip(sizes, expected, strict=True)
    )
    if not fits or math.prod(max(size, 1) for size in sizes) > MOST_NUMBERS:
        axes = ", ".join({None: "n", 0: "any"}.get(wanted, str(wanted)) for wanted in expected)
        raise ValueError(
            f"{name} of shape {shown(shape)}: expected (streams, {axes}), not more than {MOST_NUMBERS} in all"
        )
    return sizes


def _session_options() -> onnxruntime.SessionOptions:
    """One thread that sleeps when idle: by default the pool spins, 37 % of a core at two runs a second."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only: a device without a GPU would otherwise say so at each start
    return options

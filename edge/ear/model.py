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

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.ear.frontend import Features
from edge.ear.ring import HOP_FRAMES
from edge.errors import DetectorError

# onnxruntime 1.32 reports usage to its maker unless it is told not to before it is loaded. Nothing leaves a device but
# over MQTT.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

Cache = tuple[NDArray[np.float32], ...]

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
    """An ONNX network that steps hop by hop; it holds no state of any stream."""

    def __init__(self, path: Path) -> None:
        """Load the graph. Raises DetectorError if it cannot be read or does not keep the contract."""
        try:
            self._session = onnxruntime.InferenceSession(path, _session_options(), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises types of its own, one for each status code
            raise DetectorError(f"{path}: cannot be loaded as an ONNX model: {error}") from error

        inputs = {value.name: value.shape for value in self._session.get_inputs()}
        outputs = {value.name: value.shape for value in self._session.get_outputs()}
        self._state_names = [name for name in inputs if name.startswith(_STATE)]
        self._check(path, inputs, outputs)

        self._outputs = [name for name in Heard._fields if name in outputs]
        self.n_mels = int(inputs["features"][2])
        self.embedding_dim = int(outputs["embedding"][2]) if "embedding" in outputs else 0
        self.n_classes = int(outputs["logits"][2]) if "logits" in outputs else 0
        self.texture_shape = (
            (int(outputs["texture"][2]), int(outputs["texture"][3])) if "texture" in outputs else (0, 0)
        )
        self._state_shapes = [inputs[name][1:] for name in self._state_names]
        self._takes_many_hops = not isinstance(inputs["features"][3], int)
        is_whole = self._state_names == [_FRAMES] and not self.texture_shape[0]
        self.whole_frames = int(inputs[_FRAMES][3]) + HOP_FRAMES if is_whole else None

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
        values = self._session.run([*self._outputs, *self._state_names_out], feeds)
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

    @property
    def _state_names_out(self) -> list[str]:
        return [f"next.{name}" for name in self._state_names]

    def _check(self, path: Path, inputs: dict[str, Sequence[object]], outputs: dict[str, Sequence[object]]) -> None:
        expected_in = {"features", *self._state_names}
        wholes = [{"embedding", "logits"}, {"embedding", "logits", "texture", "quiet"}, {"texture", "quiet"}]
        expected_out = [whole | set(self._state_names_out) for whole in wholes]
        if set(inputs) != expected_in or set(outputs) not in expected_out:
            raise DetectorError(
                f"{path}: inputs {sorted(inputs)} and outputs {sorted(outputs)}: expected {sorted(expected_in)} and "
                f"{sorted(expected_out[0])}, with texture and quiet, or those instead of embedding and logits"
            )


def _session_options() -> onnxruntime.SessionOptions:
    """One thread that sleeps when idle: by default the pool spins, 37 % of a core at two runs a second."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only: a device without a GPU would otherwise say so at each start
    return options

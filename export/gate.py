"""What a detector must prove before it gets its name; beyond tolerance no folder is written."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge.detector import Detector
from edge.ear import DEAD_DB, HOP_FRAMES, QUIET_PER_DB, QUIET_ROWS, Features, Frontend, Measurement
from edge.errors import EarshotError
from edge.source import read_samples
from trainer.dataset import Clip
from trainer.network import Network

RUNTIME_TOLERANCE: Final = 1e-4
"""Between torch and onnxruntime, relative to the largest value of the clip."""

BLOCK_TOLERANCE: Final = 1e-5
"""Between odd-sized blocks and whole windows, relative likewise."""

ODD_BLOCKS: Final = (160, 1000, 7919, 48_000)


def check_runtime(network: Network, detector: Detector, clips: Sequence[Clip]) -> dict[str, float]:
    """Compare torch on whole windows with onnxruntime on a stream; return the largest relative differences.

    Of what the detector's graph gives: embedding and logits, texture, or all three. Raises EarshotError beyond
    `RUNTIME_TOLERANCE`.
    """
    frontend, worst = Frontend(detector.frontend), dict[str, float]()
    for clip in clips:
        samples = read_samples(clip.path, clip.pickup)
        heard = detector.ear().feed(samples)
        windows = _windows_of(frontend(samples), detector, heard)
        expected: dict[str, NDArray[np.float32]] = {}
        if detector.model.embedding_dim:
            expected |= _whole_windows(network, windows)
        if detector.model.texture_shape[0]:
            expected["texture"] = _whole_textures(network, windows, detector.plan.window_hops - 1)
        for name, values in expected.items():
            came = np.stack([getattr(each, name) for each in heard])
            worst[name] = max(worst.get(name, 0.0), _difference(came, values))
    _refuse_beyond(worst, RUNTIME_TOLERANCE, "torch and onnxruntime disagree")
    return worst


def check_blocks(detector: Detector, clips: Sequence[Clip]) -> dict[str, float]:
    """Compare streams cut into odd-sized blocks with the same clips in one piece, as `check_runtime` does."""
    worst = {f"blocks of {n}": 0.0 for n in ODD_BLOCKS}
    for clip in clips:
        samples = read_samples(clip.path, clip.pickup)
        whole = detector.ear().feed(samples)
        for n in ODD_BLOCKS:
            ear = detector.ear()
            heard = [m for start in range(0, samples.size, n) for m in ear.feed(samples[start : start + n])]
            if [m.end_sample for m in heard] != [m.end_sample for m in whole]:
                raise EarshotError(f"{clip.path}: blocks of {n} samples give other windows than the clip in one piece")
            for name in ("embedding", "logits", "texture", "bands"):
                came, expected = (np.stack([getattr(m, name) for m in each]) for each in (heard, whole))
                if not expected.size:  # the graph has no such output
                    continue
                worst[f"blocks of {n}"] = max(worst[f"blocks of {n}"], _difference(came, expected))
    _refuse_beyond(worst, BLOCK_TOLERANCE, "a stream and a whole clip disagree")
    return worst


def _windows_of(frames: Features, detector: Detector, heard: Sequence[Measurement]) -> Tensor:
    """Return the whole window behind each measurement: (B, 1, M, F)."""
    plan = detector.plan
    starts = [(m.end_sample - plan.window_samples) // plan.frontend.hop_samples for m in heard]
    windows = np.stack([frames[:, start : start + plan.window_frames] for start in starts])
    return torch.from_numpy(windows)[:, None]


@torch.no_grad()
def _whole_windows(network: Network, windows: Tensor) -> dict[str, NDArray[np.float32]]:
    """Return embeddings (B, D) and logits (B, k) of whole windows."""
    embedding, logits = network(windows)
    return {"embedding": embedding[:, 0].numpy(), "logits": logits[:, 0].numpy()}


@torch.no_grad()
def _whole_textures(network: Network, windows: Tensor, n_hops: int) -> NDArray[np.float32]:
    """Return the textures (B, C R) of whole windows, over their newest hops, by the definition and without a stream.

    Column k of the stem's map is made of frames 2 k to 2 k + 6, and counts by the level of the two in the middle,
    2 k + 2 and 2 k + 3; the columns of the newest hop are the last.
    """
    stem = network.stem(network.normalise(windows)).double()
    n_columns = n_hops * HOP_FRAMES // 2
    n_windows, _, n_mels, n_frames = windows.shape
    levels = windows.double().reshape(n_windows, QUIET_ROWS, n_mels // QUIET_ROWS, n_frames).mean(2)
    level = torch.stack([levels[..., 2::2][..., : stem.shape[-1]], levels[..., 3::2][..., : stem.shape[-1]]]).mean(0)
    weight = (torch.exp(-QUIET_PER_DB * level) * (level > DEAD_DB))[..., -n_columns:]
    rows = stem.reshape(n_windows, stem.shape[1], QUIET_ROWS, -1, stem.shape[-1]).mean(3)[..., -n_columns:]
    texture = (rows * weight[:, None]).sum(3) / weight[:, None].sum(3).clamp_min(1e-30)
    return np.asarray(texture.flatten(1).float().numpy())


def _difference(came: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.abs(came - expected).max() / max(float(np.abs(expected).max()), 1e-12))


def _refuse_beyond(worst: dict[str, float], tolerance: float, what: str) -> None:
    beyond = {name: value for name, value in worst.items() if not value <= tolerance}
    if beyond:
        shown = ", ".join(f"{name} by {value:.1e}" for name, value in beyond.items())
        raise EarshotError(f"no detector is written: {what}: {shown}: expected at most {tolerance:g}, relative")

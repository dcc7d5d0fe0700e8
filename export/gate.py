"""What a detector must prove before it gets its name; beyond tolerance no folder is written."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from edge.detector import Detector
from edge.ear import Features, Frontend, Measurement
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

    Raises EarshotError beyond `RUNTIME_TOLERANCE`.
    """
    frontend, worst = Frontend(detector.frontend), {"embedding": 0.0, "logits": 0.0}
    for clip in clips:
        samples = read_samples(clip.path, clip.pickup)
        heard = detector.ear().feed(samples)
        embedding, logits = _whole_windows(network, detector, frontend(samples), heard)
        for name, expected in (("embedding", embedding), ("logits", logits)):
            came = np.stack([getattr(each, name) for each in heard])
            worst[name] = max(worst[name], _difference(came, expected))
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
            for name in ("embedding", "logits", "bands"):
                came, expected = (np.stack([getattr(m, name) for m in each]) for each in (heard, whole))
                worst[f"blocks of {n}"] = max(worst[f"blocks of {n}"], _difference(came, expected))
    _refuse_beyond(worst, BLOCK_TOLERANCE, "a stream and a whole clip disagree")
    return worst


def _whole_windows(
    network: Network, detector: Detector, frames: Features, heard: Sequence[Measurement]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Run torch on the whole window behind each measurement; return embeddings (B, D) and logits (B, k)."""
    plan = detector.plan
    starts = [(m.end_sample - plan.window_samples) // plan.frontend.hop_samples for m in heard]
    windows = np.stack([frames[:, start : start + plan.window_frames] for start in starts])
    with torch.no_grad():
        embedding, logits = network(torch.from_numpy(windows)[:, None])
    return embedding[:, 0].numpy(), logits[:, 0].numpy()


def _difference(came: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.abs(came - expected).max() / max(float(np.abs(expected).max()), 1e-12))


def _refuse_beyond(worst: dict[str, float], tolerance: float, what: str) -> None:
    beyond = {name: value for name, value in worst.items() if not value <= tolerance}
    if beyond:
        shown = ", ".join(f"{name} by {value:.1e}" for name, value in beyond.items())
        raise EarshotError(f"no detector is written: {what}: {shown}: expected at most {tolerance:g}, relative")

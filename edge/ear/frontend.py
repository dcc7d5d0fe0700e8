"""High-pass log-mel frames. Pure: no state, no I/O, numpy only; the same frames in a stream, a clip and any block.

A frame is a function of its 1024 samples and of nothing else: no padding, no maximum or mean of the clip.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Features = NDArray[np.float32]
_Float = TypeVar("_Float", np.float32, np.float64)

MOST_KINDS: Final = 16
"""Of settings whose filters are kept."""

POWER_FLOOR: Final = 1e-10
"""Power below which a band counts as silent: -100 dB."""

REVISION: Final = 1
"""Part of the fingerprint: raise it when the same settings begin to give other numbers."""


@dataclass(frozen=True, kw_only=True)
class FrontendSettings:
    """What a detector's frames are made of; it travels in `detector.json`.

    `f_min_hz` is the high-pass of the paper (its Table 7: 0, 1000 or 2000 Hz a machine): bins below it are removed
    before the mel filter, and all `n_mels` bands lie above it. Zeroing bins under a full-range bank would leave
    41 (1 kHz) or 70 (2 kHz) of 128 rows dead.
    """

    sample_rate_hz: int = 16_000
    frame_samples: int = 1024
    hop_samples: int = 512
    n_mels: int = 128
    f_min_hz: float = 0.0
    f_max_hz: float = 8_000.0

    def __post_init__(self) -> None:
        if not 0 <= self.f_min_hz < self.f_max_hz <= self.sample_rate_hz / 2:
            raise ValueError(
                f"f_min_hz {self.f_min_hz:g} and f_max_hz {self.f_max_hz:g}: expected "
                f"0 <= f_min_hz < f_max_hz <= {self.sample_rate_hz / 2:g}, half the sample rate"
            )

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the settings and `REVISION`: two frontends with the same one give the same frames."""
        text = json.dumps({"revision": REVISION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def samples_for(self, n_frames: int) -> int:
        """Return how many samples `n_frames` whole frames span."""
        return (n_frames - 1) * self.hop_samples + self.frame_samples

    def frames_in(self, n_samples: int) -> int:
        """Return how many whole frames fit into `n_samples`; the rest is left for the next hop."""
        return max(0, (n_samples - self.frame_samples) // self.hop_samples + 1)


class Frontend:
    """Samples to log-mel frames."""

    def __init__(self, settings: FrontendSettings) -> None:
        self.settings = settings

    def __call__(self, samples: Samples) -> Features:
        """Return the log-mel energies of every whole frame, shape (M, F), float32, dB re full scale.

        samples: mono in [-1, 1], shape (T,), float32. Samples after the last whole frame are ignored.
        Periodic Hann, power spectrum, area-normalised mel triangles, `10*log10(max(., 1e-10))`.
        Raises ValueError if there is not one whole frame.
        """
        s = self.settings
        if samples.ndim != 1 or samples.size < s.frame_samples:
            raise ValueError(f"samples of shape {samples.shape}: expected (T,) with T >= {s.frame_samples}")

        spectrum = np.fft.rfft(self._frames(samples) * _hann(s.frame_samples))
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        mel = _mel_filters(s) @ power.T
        log_mel: Features = 10.0 * np.log10(np.maximum(mel, np.float32(POWER_FLOOR)))
        return log_mel

    def _frames(self, samples: Samples) -> Samples:
        """Return a view of all whole frames, shape (F, frame_samples).

        By hand: sliding_window_view makes and forgets a dozen dictionaries, whose keys Python has to intern each time.
        """
        s = self.settings
        samples = np.ascontiguousarray(samples)
        step = samples.itemsize
        shape = (s.frames_in(samples.size), s.frame_samples)
        return np.ndarray(shape, samples.dtype, samples, strides=(s.hop_samples * step, step))

    @property
    def band_edges_hz(self) -> NDArray[np.float64]:
        """The corners of the mel triangles, shape (M + 2,): band m rises from [m], peaks at [m+1], ends at [m+2]."""
        return _band_edges_hz(self.settings)


# Of all frontends with the same settings, so that a hundred microphones have one bank of filters, and it stays in the
# caches: it is a quarter of a megabyte.


@lru_cache(maxsize=MOST_KINDS)
def _hann(frame_samples: int) -> Samples:
    phase = 2 * np.pi * np.arange(frame_samples) / frame_samples
    return _shared((0.5 - 0.5 * np.cos(phase)).astype(np.float32))


@lru_cache(maxsize=MOST_KINDS)
def _band_edges_hz(s: FrontendSettings) -> NDArray[np.float64]:
    low, high = _hz_to_mel(np.array([s.f_min_hz, s.f_max_hz]))
    return _shared(_mel_to_hz(np.linspace(low, high, s.n_mels + 2)))


@lru_cache(maxsize=MOST_KINDS)
def _mel_filters(s: FrontendSettings) -> NDArray[np.float32]:
    """Triangles on the linear frequency axis, each of unit area (Slaney), shape (M, frame_samples // 2 + 1)."""
    bins_hz = np.fft.rfftfreq(s.frame_samples, 1 / s.sample_rate_hz)
    low, peak, high = (_band_edges_hz(s)[i : i + s.n_mels, np.newaxis] for i in range(3))
    triangles = np.minimum((bins_hz - low) / (peak - low), (high - bins_hz) / (high - peak))
    return _shared((np.maximum(triangles, 0) * 2 / (high - low)).astype(np.float32))


def _shared(x: NDArray[_Float]) -> NDArray[_Float]:
    """Return it, to be written into by nobody."""
    x.flags.writeable = False
    return x


# The Slaney mel scale (Auditory Toolbox, 1998): linear to 1 kHz, 15 mel; above, 27 mel for each factor of 6.4.
_LINEAR_HZ_PER_MEL: Final = 200 / 3
_BREAK_HZ: Final = 1000.0
_BREAK_MEL: Final = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP: Final = np.log(6.4) / 27


def _hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _LINEAR_HZ_PER_MEL, above)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ_PER_MEL, above)

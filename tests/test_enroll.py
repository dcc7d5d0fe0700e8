"""What enrolment keeps of hours of normal sound, and what it takes of a small computer's memory."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge import detector as detectors
from edge.config.settings import EventSettings, OnDelay
from edge.detector import measuring
from edge.detector.enrolment import Promise, learn_section
from edge.detector.measuring import Recording, Stretch, measure_normal, normal_windows
from edge.detector.rows import STRETCH_SECONDS
from edge.detector.sections import Section
from edge.ear import Ear, Measurement
from edge.ear.frontend import FrontendSettings, Samples
from edge.ear.ring import HopPlan
from edge.errors import SourceError
from edge.judge.calibration import TooLittleSoundError
from edge.source import OnNote, Pickup
from tests.conftest import DEMO
from tests.test_fit import windows

RATE_HZ = 16_000


class QuickEar(Ear):
    """Measures its own count of hops instead of sound, with a fault at hop 40."""

    def __init__(self) -> None:
        detector = detectors.read(DEMO / "detector")
        super().__init__(detector.model, detector.plan)

    def reset(self) -> None:
        self._n_samples = 0

    def feed(self, samples: Samples) -> list[Measurement]:
        hop, window = self.plan.hop_samples, self.plan.window_samples
        before, self._n_samples = self._n_samples, self._n_samples + samples.size
        return [
            Measurement(
                end_sample=i * hop,
                embedding=np.full(128, i, np.float32),
                texture=np.empty(0, np.float32),
                logits=np.full(2, i, np.float32),
                bands=np.full((4, 128), i, np.float32),
                level_dbfs=-20.0,
                fault="silent or stuck" if i == 40 else None,
            )
            for i in range(before // hop + 1, self._n_samples // hop + 1)
            if i * hop >= window
        ]


@pytest.fixture
def ear(monkeypatch: pytest.MonkeyPatch) -> Ear:
    """An ear for files whose names are how many seconds they last; what is damaged is so at its end."""

    def blocks(path: Path, _pickup: Pickup, *, block_samples: int, on_note: OnNote) -> Iterator[Samples]:
        for _ in range(int(float(path.stem)) * RATE_HZ // block_samples):
            yield np.zeros(block_samples, np.float32)
        if path.suffix == ".damaged":
            raise SourceError(f"{path}: damaged")

    monkeypatch.setattr(measuring, "read_blocks", blocks)
    return QuickEar()


def recording(name: str) -> Recording:
    return Recording(Path(name), name)


def test_long_recordings_are_cut_and_bad_ones_leave_nothing_behind(ear: Ear) -> None:
    skipped: list[str] = []
    files = [recording(name) for name in ("60.wav", "300.damaged", "5.wav", "1000.wav")]
    windows = measure_normal(ear, files, skip=skipped.append)

    assert windows is not None
    assert len(skipped) == 2
    assert list(dict.fromkeys(windows.recording)) == ["60.wav", "1000.wav#0", "1000.wav#1", "1000.wav#2"]
    names, hop = np.array(windows.recording), ear.plan.hop_samples
    hops = windows.embedding[:, 0].astype(int)
    assert 40 not in hops
    ends, starts = hops * hop, hops * hop - ear.plan.window_samples
    last = ends[-1]
    for i in range(3):
        own = names == f"1000.wav#{i}"
        assert starts[own].min() >= i * last / 3 - 1
        assert ends[own].max() <= (i + 1) * last / 3 + 1
        assert ends[own].max() - starts[own].min() > STRETCH_SECONDS * RATE_HZ - 2 * hop
    for series in np.unique(windows.series):
        own = windows.series == series
        assert len(set(names[own])) == 1
        assert (np.diff(hops[own]) == 1).all()
    assert len(np.unique(windows.series)) == 6  # the fault splits the first of each file
    for name in dict.fromkeys(names):
        own = (names == name) & windows.apart
        assert (np.diff(ends[own]) >= ear.plan.window_samples).all()
    np.testing.assert_array_equal(windows.bands, np.broadcast_to(hops[:, None, None], windows.bands.shape))


def test_stretches_give_what_the_recording_gave(ear: Ear) -> None:
    whole = measure_normal(ear, [recording("100.wav")])
    ear.reset()
    heard = [one for one in ear.feed(np.zeros(100 * RATE_HZ // (1 << 16) * (1 << 16), np.float32)) if not one.fault]
    again = normal_windows(ear, [Stretch("100.wav", heard)])
    assert whole is not None
    assert again is not None
    for name in ("embedding", "logits", "bands", "apart", "trained_on", "series"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(again, name))
    assert (whole.recording, whole.domain) == (again.recording, again.domain)
    assert normal_windows(ear, []) is None


def test_hours_are_held_in_memory_once(ear: Ear) -> None:
    tracemalloc.start()
    try:
        windows = measure_normal(ear, [recording("3600.wav"), recording("1800.wav")])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert windows is not None
    assert peak < 1.25 * sum(one.nbytes for one in (windows.embedding, windows.logits, windows.bands))


def test_only_the_score_that_decides_can_refuse_a_weekly_promise(rng: np.random.Generator) -> None:
    """A classifier that never doubts says nothing of false alarms a week; the fused score, which decides, does."""
    n = 2000
    sound = replace(
        windows(rng, n, recording=[f"{i // 200}" for i in range(n)]),
        logits=np.zeros((n, 3), np.float32),
        series=np.arange(n) // 200,
    )

    def learned(per_week: float) -> Section:
        promise = Promise(0.01, per_week, EventSettings(on_delay=OnDelay(windows=1, of=1), off_delay_seconds=0))
        return learn_section("pump", "00", sound, class_index=0, promise=promise, plan=HopPlan(FrontendSettings(), 299))

    section = learned(300)
    assert "confidence" not in section.weekly
    rate = 10 ** -section.weekly["fused"].at(300).threshold
    assert section.card.thresholds["fused"] == pytest.approx(section.threshold("fused", rate))
    assert section.card.thresholds["confidence"] == section.threshold("confidence", 0.01)
    with pytest.raises(TooLittleSoundError):
        learned(1)

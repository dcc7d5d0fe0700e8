"""What the memory is asked: alarms of another threshold, drift over weeks, a stretch to learn from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge import detector as detectors
from edge.config.settings import EventSettings
from edge.daemon.trends import Trends
from edge.detector.enrolment import Promise, learn_section
from edge.judge import NormalWindows, Ordinary, alarms_at, drift, evidence_of
from edge.judge.event import EventDetector
from edge.judge.evidence import rarity
from edge.memory.books import Annals, read_books
from edge.memory.day import day_layout
from edge.memory.minute import Flag
from edge.memory.stretch import measured_in
from edge.memory.table import Table
from tests.conftest import DEMO
from tests.test_history import LAYOUT, measured

HOP_SECONDS = 0.512
MINUTE_HOPS = 117
ORDINARY = Ordinary(0.0, 0.15, 6.0, 0.12, 3.0, 0.5)
SETTINGS = EventSettings()
DETECTOR = detectors.read(DEMO / "detector")


# --- Alarms of another threshold ---


def hours(rng: np.random.Generator, n_hours: int) -> NDArray[np.float64]:
    """Log scores of a machine that breathes, with faults of several strengths and lengths in it."""
    n = n_hours * 60 * MINUTE_HOPS
    noise = np.convolve(rng.normal(0, 0.12 / 4, n + 15), np.ones(16), "valid")
    for start in range(20 * MINUTE_HOPS, n, 40 * MINUTE_HOPS):
        noise[start : start + int(rng.uniform(1, 10) * MINUTE_HOPS)] += rng.uniform(0.1, 1.2)
    return noise


def replayed(scores: NDArray[np.float64], rate: float) -> tuple[list[float], NDArray[np.float64]]:
    """Return when episodes opened, in minutes, and the rarity of each minute, as a daemon has them."""
    evidence = evidence_of(SETTINGS, ORDINARY, window_seconds=9.6, hop_seconds=HOP_SECONDS)
    events = EventDetector(SETTINGS, evidence, rate=rate, threshold=1.0)
    opened, rarest = list[float](), np.zeros(scores.size // MINUTE_HOPS)
    for i, score in enumerate(scores.tolist()):
        happened = events.step(i * HOP_SECONDS, float(np.exp(score)), score)
        opened += [i / MINUTE_HOPS for event in happened if event.kind == "opened"]
        rarest[i // MINUTE_HOPS] = max(rarest[i // MINUTE_HOPS], rarity(events.held))
    return opened, rarest


def test_another_threshold_gives_the_alarms_of_a_replay(rng: np.random.Generator) -> None:
    """From the minutes of ten hours at one rate: when episodes would have opened at others."""
    scores = hours(rng, 10)
    _, rarest = replayed(scores, 0.01)
    time = np.arange(60.0, 60.0 * rarest.size + 1, 60.0)
    n_true = n_found = n_missed = 0
    for rate in (0.02, 0.001, 0.0001):
        opened, _ = replayed(scores, rate)
        found = alarms_at(time, rarest, rarity(rate), off_seconds=SETTINGS.off_delay_seconds, most_minutes=60)
        missed = [at for at in opened if not any(a.opened / 60 - 2 <= at <= a.closed / 60 + 2 for a in found)]
        assert 0.7 * len(opened) - 1 <= len(found) <= 1.1 * len(opened) + 1, rate
        n_true, n_found, n_missed = n_true + len(opened), n_found + len(found), n_missed + len(missed)
    print(f"{n_true} episodes replayed, {n_found} alarms, {n_missed} episodes in none of them")
    assert n_true > 20
    assert n_missed <= 0.05 * n_true


@pytest.mark.parametrize(
    ("rare", "times", "expected"),
    [
        ([0, 3, 3, 0, 3], None, [(2, 3), (5, 5)]),
        ([3, 3, np.nan, 3], None, [(1, 2), (4, 4)]),
        ([3, 3], [1, 9], [(1, 1), (9, 9)]),
        ([3] * 8, None, [(1, 6), (7, 8)]),
        ([1, 1.99], None, []),
    ],
    ids=["apart", "unheard", "gap", "longest", "never"],
)
def test_alarms_are_runs_of_rare_minutes(
    rare: Sequence[float], times: Sequence[int] | None, expected: list[tuple[int, int]]
) -> None:
    minutes = np.array(times or range(1, len(rare) + 1), np.float64)
    found = alarms_at(60 * minutes, rare, 2.0, off_seconds=5, most_minutes=5)
    assert [(round(a.opened / 60), round(a.closed / 60)) for a in found] == expected


def test_what_comes_and_goes_is_as_many_alarms_as_in_a_replay(rng: np.random.Generator) -> None:
    """A minute of every three, for two hours."""
    scores = rng.normal(0, 0.05, 180 * MINUTE_HOPS)
    for start in range(60 * MINUTE_HOPS, scores.size, 3 * MINUTE_HOPS):
        scores[start : start + MINUTE_HOPS] += 1.5
    opened, rarest = replayed(scores, 0.01)
    time = np.arange(60.0, 60.0 * rarest.size + 1, 60.0)
    settings = {"off_seconds": SETTINGS.off_delay_seconds, "most_minutes": SETTINGS.max_episode_minutes}
    found = alarms_at(time, rarest, rarity(0.01), **settings)
    assert len(opened) <= 8
    assert abs(len(found) - len(opened)) <= 1


# --- Drift ---


def weeks(rng: np.random.Generator, n_days: int, per_week: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values an hour, with weather that lasts for days."""
    weather = np.zeros(n_days + 20)
    for i in range(1, weather.size):
        weather[i] = 0.5 * weather[i - 1] + rng.normal()
    day = np.repeat(np.arange(n_days, dtype=np.float64), 24)
    return day * 86_400 + 60.0, weather[20 + day.astype(int)] + per_week / 7 * day + rng.normal(0, 3, day.size)


def test_what_only_varies_is_no_drift(rng: np.random.Generator) -> None:
    found = [drift(*weeks(rng, 42, 0.0)) for _ in range(200)]
    assert sum(one is not None for one in found) <= 8  # 1 % asked for, of days that are not independent


def test_drift_is_found_with_its_size(rng: np.random.Generator) -> None:
    found = [drift(*weeks(rng, 42, 1.0)) for _ in range(50)]
    known = [one for one in found if one is not None]
    assert len(known) >= 45
    assert sum(one.low <= 1.0 <= one.high for one in known) >= 0.95 * len(known)
    assert np.median([one.per_week for one in known]) == pytest.approx(1.0, abs=0.1)


def test_days_of_repairs_bend_no_line_and_a_week_alone_is_none(rng: np.random.Generator) -> None:
    time, values = weeks(rng, 42, 3.0)
    values[np.isin(time // 86_400, (3, 20, 38))] += 50
    values[::7] = np.nan
    found = drift(time, values)
    assert found is not None
    assert found.per_week == pytest.approx(3.0, abs=0.6)
    assert drift(*weeks(rng, 7, 100.0)) is None
    assert drift([], []) is None


def year(folder: Path, n: int, per_week: float, *, detector: str = "d", first: int = 1) -> None:
    """Days as the memory keeps them: the score changes by a part of itself a week, the level only varies."""
    layout = day_layout(type(LAYOUT)(LAYOUT.columns, LAYOUT.capacity, {**LAYOUT.about, "detector": detector}))
    rng, rows = np.random.default_rng(first), layout.empty(n)
    rows["number"], rows["minutes"], rows["flags"] = first + np.arange(n), 1440, Flag.TRUSTED | Flag.SYNCED
    rows["unix"] = rows["monotonic"] = 1e9 + 86_400.0 * (first + np.arange(n))
    rows["log_score"] = per_week * np.arange(n) / 7 + rng.normal(scale=0.01, size=n)
    rows["level_dbfs"] = -30 + rng.normal(scale=0.5, size=n)
    rows["minutes"][3] = 5  # too little to say something, and it would bend the line
    rows["log_score"][3] = 4.0
    Table(folder / f"pump.{layout.identity}.days", layout).append(rows)


def test_what_drifts_is_said_with_its_interval_and_what_varies_is_not(tmp_path: Path) -> None:
    year(tmp_path, 40, 0.02)
    trends = Trends(tmp_path)
    assert trends.now == {}
    trends.look("pump")
    trends.look("fan")
    (found,) = trends.now["pump"].values()
    assert list(trends.now) == ["pump"]
    assert 0 < found["low"] < 0.02 < found["high"]
    assert found["per_week"] == pytest.approx(0.02, abs=0.004)
    assert len(trends.days("pump")["time"]) == 39


def test_scores_by_another_detector_are_no_part_of_a_trend(tmp_path: Path) -> None:
    year(tmp_path, 40, 0.1)
    year(tmp_path, 20, 0.0, detector="learnt anew", first=41)
    trends = Trends(tmp_path)
    trends.look("pump")
    assert len(trends.days("pump")["time"]) == 19
    assert trends.now == {}


# --- A stretch to learn from ---


def night(folder: Path, n: int, network: str = "n") -> None:
    """Minutes of a day; an episode in the third, a gap in the fifth."""
    rows = LAYOUT.empty(n)
    rows["flags"] = Flag.TRUSTED | Flag.SYNCED
    rows["flags"][2] |= Flag.EPISODE
    rows["flags"][4] |= Flag.GAP
    rows["monotonic"] = 60.0 * (1 + np.arange(n))
    rows["unix"] = 1e9 + rows["monotonic"]
    for i in range(n):
        rows["texture"][i], rows["bands"][i] = measured(i).texture, measured(i).bands
    layout = type(LAYOUT)(LAYOUT.columns, LAYOUT.capacity, {**LAYOUT.about, "network": network})
    Annals(folder, "pump", layout).append(rows)


def test_a_stretch_is_the_windows_of_its_ordinary_minutes(tmp_path: Path) -> None:
    night(tmp_path, 30)
    books = read_books(tmp_path, "pump")
    found = measured_in(books, 1e9 + 60, 1e9 + 1200)
    assert found.number.tolist() == [2, 4, *range(6, 21)]
    assert np.allclose(found.windows["texture"][0], measured(1).texture, atol=2e-3)
    assert found.time[0] == 1e9 + 120
    assert measured_in(books, 1e9, 1e9 + 300, with_episodes=True).number.tolist() == [1, 2, 3, 4]
    assert measured_in(books, 0, 1).number.size == 0
    assert measured_in([], 0, 1).number.size == 0


def test_what_another_network_measured_is_no_part_of_it(tmp_path: Path) -> None:
    night(tmp_path, 10)
    night(tmp_path, 10, network="other")
    found = measured_in(read_books(tmp_path, "pump"), 0, 2e9)
    assert (found.network, found.number.tolist()) == ("other", [11, 12, 14, *range(16, 21)])


def test_a_night_teaches_what_its_windows_would(rng: np.random.Generator) -> None:
    """One window a minute in float16, against every window that does not overlap: the threshold is about the same."""
    centre, spread = rng.normal(-50, 5, (4, 128)), rng.uniform(0.5, 2, (4, 128))
    texture, scatter = rng.normal(0, 1, 512), rng.uniform(0.02, 0.1, 512)

    def windows(n: int) -> dict[str, NDArray[np.float32]]:
        own = rng.normal(size=(n // 30 + 1, 1, 1)).repeat(30, 0)[:n]  # recordings differ
        bands = centre + spread * (rng.normal(size=(n, 4, 128)) + 0.5 * own)
        heard = texture + scatter * (rng.normal(size=(n, 512)) + 0.5 * own[:, 0])
        return {"texture": heard.astype(np.float32), "bands": np.abs(bands).astype(np.float32)}

    def threshold(sound: dict[str, NDArray[np.float32]], numbers: NDArray[np.int64]) -> float:
        normal = NormalWindows.of_minutes(sound, numbers, "night")
        section = learn_section("pump", "00", normal, class_index=None, promise=Promise(0.01), plan=DETECTOR.plan)
        return section.card.thresholds["fused"]

    every = windows(600)
    kept = {name: x[::6].astype(np.float16).astype(np.float32) for name, x in every.items()}
    all_of_it = threshold(every, np.arange(600))
    assert threshold(kept, np.arange(100)) == pytest.approx(all_of_it, rel=0.15)

"""What recordings of a machine have in common with those of others: learns `edge.judge.ordinary.PRIOR`, and tries it.

    python -m benchmarks.prior learn BASE DATA... --noise FOLDER... [--folder build/prior] [--without FAMILY...]
    python -m benchmarks.prior table BASE DATA... --noise FOLDER... [--folder build/prior]
    python -m benchmarks.prior long BASE [--folder build/prior]

BASE is a detector whose ear hears: what is enrolled on it are the simulator's machines, made on the fly, and those of
DATA (see `benchmarks.machines`). Many enrolments of each, of more and less sound, score recordings that they were not
made of. `learn` prints the prior under which those scores are likeliest; `table` what became of the false-alarm rates
asked for, under priors that were learnt without the type of machine that is tried; `long` the same of more sections of
the simulator's types, which were recorded for hours, under the prior that ships.
"""

import argparse
import math
import pickle
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.machines import Machine, machines
from benchmarks.measure import Table
from edge import detector as detectors
from edge.judge import (
    PRIOR,
    STRANGER,
    NormalWindows,
    Observed,
    Prior,
    expected,
    fit_gaussian,
    folds,
    observed,
    quantities,
)

DoubleArray = NDArray[np.float64]

SIZES: Final = (
    *((14, 1), (24, 1), (59, 1), (14, 2), (24, 2), (58, 2), (24, 5), (55, 5), (200, 5), (108, 12)),
    *((60, 12), (60, 20), (180, 20), (980, 20), (14, 14), (24, 24)),
)
"""Enrolments: so many windows, of so many recordings, each as many: as the recordings of `machines` are long."""

LONG_SIZES: Final = tuple((n_windows, n_recordings) for n_windows in (200, 1000) for n_recordings in (1, 2, 5, 20))
"""Of machines that were recorded for hours."""

CHOICES: Final = 4
MANY_WINDOWS: Final = 100
CHOICES_OF_MANY: Final = 2
"""Of recordings to enrol, where there are so many."""

ASKED: Final = (0.001, 0.01, 0.05)

LEARNT: Final = ("trusted_recordings", "few_offset", "few_slope", "few_variance", "between_share")
SIGNED: Final = ("few_offset", "few_slope")
"""What is learnt by likelihood; the others by their logarithm, since they are positive."""

WINDOWS_HELD: Final = 3
"""Of each recording, besides their mean: more of one recording say the same."""

LEAST_WINDOWS: Final = 4
LEAST_DEVIATION: Final = 0.02
"""Of recordings whose own deviation is looked at: so many windows, and no less than this."""


@dataclass(frozen=True)
class Enrolment:
    """What a machine's enrolment scored, and what it makes of recordings that it did not hear; log scores.

    far, near, recording  (n,), cross-fitted, as `ordinary` takes them
    unheard  of each recording of normal sound, in a condition that was enrolled; faulty, of all windows with a fault
    """

    machine: str
    family: str
    size: tuple[int, int]
    far: DoubleArray
    near: DoubleArray
    recording: NDArray[np.int64]
    unheard: Sequence[DoubleArray]
    faulty: DoubleArray

    @property
    def is_simulated(self) -> bool:
        """Whether the machine is one of the simulator's."""
        return self.machine.startswith("simulated")


# --- Enrolments ---


def enrolments(found: Sequence[Machine], folder: Path, sizes: Sequence[tuple[int, int]] = SIZES) -> list[Enrolment]:
    """Return the enrolments of all machines; make those that are not in `folder` yet, and leave them there."""
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Enrolment] = []
    for machine in tqdm(found, unit="machine"):
        path = folder / f"{machine.name.replace('/', '-').replace(' ', '-')}.pickle"
        # As plain values: a class of a module that is run has another name than one that is imported.
        own: dict[tuple[int, int], list[dict[str, Any]]] = pickle.loads(path.read_bytes()) if path.exists() else {}
        missing = [size for size in sizes if size not in own]
        own |= {size: [vars(one) for one in _enrolments_of(machine, size)] for size in missing}
        if missing:
            path.write_bytes(pickle.dumps(own))
        made += [Enrolment(**one) for size in sizes for one in own[size]]
    return made


def _enrolments_of(machine: Machine, size: tuple[int, int]) -> list[Enrolment]:
    n_windows, n_recordings = size
    each = -(-n_windows // n_recordings)
    names = np.array(machine.windows.recording)
    counted = Counter(names[~machine.faulty].tolist())
    enough = [name for name, n in counted.items() if n >= each]
    if len(enough) < n_recordings:
        return []
    rng = np.random.default_rng(zlib.crc32(f"{machine.name} {size}".encode()))
    n_choices = CHOICES if n_windows < MANY_WINDOWS else CHOICES_OF_MANY
    choices = {tuple(sorted(rng.permutation(enough)[:n_recordings].tolist())) for _ in range(n_choices)}
    return [one for chosen in sorted(choices) if (one := _enrolled(machine, size, chosen, each)) is not None]


def _enrolled(machine: Machine, size: tuple[int, int], chosen: Sequence[str], each: int) -> Enrolment | None:
    windows, names = machine.windows, np.array(machine.windows.recording)
    rows = np.concatenate([np.flatnonzero(names == name)[:each] for name in chosen])
    known = np.isin(machine.condition, machine.condition[rows]) & ~np.isin(names, chosen)
    unheard = sorted(set(names[known & ~machine.faulty].tolist()))
    if not unheard:
        return None
    enrolled = np.zeros(len(windows), np.bool_)
    enrolled[rows] = True
    heard = windows.take(enrolled)
    scores = _scores(heard, windows)
    return Enrolment(
        machine.name,
        machine.family,
        size,
        _cross_fitted(heard, folds.by_recording),
        _cross_fitted(heard, folds.by_stretch),
        np.unique(heard.recording, return_inverse=True)[1].astype(np.int64),
        [scores[names == name] for name in unheard],
        scores[known & machine.faulty],
    )


def _cross_fitted(windows: NormalWindows, fold: Callable[[NormalWindows], list[folds.Fold]]) -> DoubleArray:
    unseen = np.empty(len(windows))
    for held_out, fitted in fold(windows):
        unseen[held_out] = _scores(windows.take(fitted), windows.take(held_out))
    return unseen


def _scores(fitted: NormalWindows, scored: NormalWindows) -> DoubleArray:
    """Return the fused log scores but for a constant, which `ordinary` moves along with."""
    normal, heard = _quantities(fitted), _quantities(scored)
    parts = [
        np.log(fit_gaussian(normal[name], fitted.domain).distance(heard[name]).astype(np.float64)) for name in normal
    ]
    return np.asarray(np.mean(parts, axis=0))


def _quantities(windows: NormalWindows) -> dict[str, NDArray[np.float32]]:
    measured = quantities(windows.embedding, windows.texture.astype(np.float32), windows.bands)
    return {name: measured[name] for name in STRANGER}


# --- Learning ---


def learn(made: Sequence[Enrolment], without: Sequence[str] = ()) -> Prior:
    """Return the prior under which the recordings that were not enrolled are likeliest.

    without: families that nothing is learnt from. Windows and means of recordings are both held against the
    predictive distribution: half of the likelihood each.
    """
    used = [one for one in made if one.family not in without]
    heard = [observed(one.far, one.near, one.recording) for one in used]
    weights = _weights(used)
    start = replace(PRIOR, **_spread(used, heard, weights))
    score, case, size, weight = _scores_of(used, weights)

    def unlikelihood(x: DoubleArray) -> float:
        believed = [expected(one, _prior_of(x, start)) for one in heard]
        level, between, within = (
            np.array(column)[case]
            for column in zip(*((b.level, b.level_deviation**2, b.deviation**2) for b in believed), strict=True)
        )
        variance, freedom = between + within / size, start.level_freedom
        squared = np.square(score - level) / variance
        return float(weight @ (np.log(variance) + (freedom + 1) * np.log1p(squared / freedom)))

    first = np.array([getattr(start, name) if name in SIGNED else math.log(getattr(start, name)) for name in LEARNT])
    options = {"xatol": 0.01, "fatol": 1e-4}
    return _prior_of(scipy.optimize.minimize(unlikelihood, first, method="Nelder-Mead", options=options).x, start)


def _prior_of(x: DoubleArray, start: Prior) -> Prior:
    values = {
        name: value if name in SIGNED else math.exp(value) for name, value in zip(LEARNT, x.tolist(), strict=True)
    }
    return replace(start, **values)


def _weights(made: Sequence[Enrolment]) -> list[float]:
    """Return what each enrolment counts: every kind of machine the same, and of it every size."""
    kinds = [(one.family, "noisy" in one.machine and not one.is_simulated, one.size) for one in made]
    counted = Counter(kinds)
    sizes = Counter(kind[:2] for kind in counted)
    return [1 / counted[kind] / sizes[kind[:2]] / len(sizes) for kind in kinds]


def _scores_of(
    made: Sequence[Enrolment], weights: Sequence[float]
) -> tuple[DoubleArray, NDArray[np.int64], DoubleArray, DoubleArray]:
    """Return the scores of windows and the means of recordings; of which enrolment; windows a score; its weight."""
    rows = []
    for i, (one, weight) in enumerate(zip(made, weights, strict=True)):
        for scores in one.unheard:
            each = weight / len(one.unheard)
            some = scores[:: -(-scores.size // WINDOWS_HELD)]
            rows += [(score, i, 1, each / some.size / 2) for score in some.tolist()]
            rows.append((float(scores.mean()), i, scores.size, each / 2))
    score, case, size, weight_of = (np.array(column) for column in zip(*rows, strict=True))
    return score, case.astype(np.int64), size.astype(np.float64), weight_of


def _spread(made: Sequence[Enrolment], heard: Sequence[Observed], weights: Sequence[float]) -> dict[str, float]:
    """Return what is learnt of the deviation within recordings: least squares of its logarithm."""
    rows = []
    for one, own, weight in zip(made, heard, weights, strict=True):
        for scores in one.unheard:
            if scores.size >= LEAST_WINDOWS:
                deviation = max(float(scores.std(ddof=1)), LEAST_DEVIATION)
                error = 1 / (2 * (scores.size - 1))
                rows.append((math.log(deviation / own.within), 1 / own.n_windows, error, weight / len(one.unheard)))
    ratio, fewness, error_of, weight_of = np.array(rows).T
    root = np.sqrt(weight_of / weight_of.sum())
    terms = np.stack([np.ones_like(fewness), fewness], axis=1)
    offset, slope = np.linalg.lstsq(terms * root[:, np.newaxis], ratio * root, rcond=None)[0].tolist()
    # The logarithm of a deviation with n degrees of freedom has variance 1 / 2n, near enough.
    variance = float((root**2 * (np.square(ratio - terms @ np.array([offset, slope])) - error_of)).sum())
    return {"spread_offset": offset, "spread_slope": slope, "spread_freedom": 1 / (2 * variance)}


# --- What came ---


def priors(made: Sequence[Enrolment]) -> dict[str, Prior]:
    """Return a prior for each family of machines: learnt without it."""
    return {family: learn(made, [family]) for family in tqdm(sorted({one.family for one in made}), unit="prior")}


def promises(made: Sequence[Enrolment], prior_of: Mapping[str, Prior]) -> Table:
    """Return the rates that came of those asked for, under the prior that each family of machines is tried with."""
    by_machine: defaultdict[tuple[tuple[int, int], str], list[list[float]]] = defaultdict(list)
    for one in made:
        by_machine[one.size, one.machine].append(_came(one, prior_of[one.family]))
    by_row: defaultdict[tuple[str, str], list[DoubleArray]] = defaultdict(list)
    for (size, machine), came in by_machine.items():
        kind = "simulated" if machine.startswith("simulated") else "real"
        mean = np.nanmean(came, axis=0)
        by_row[f"{size[0]} of {size[1]}", kind].append(mean)
        by_row["all", kind].append(mean)
    rows = []
    for (size_text, kind), means in sorted(
        by_row.items(), key=lambda item: (item[0][1], *map(int, re.findall(r"\d+", item[0][0])))
    ):
        mean = np.nanmean(means, axis=0)
        cells = [f"{a:.2%}" if i % 3 == 0 else f"{a:.0%}" for i, a in enumerate(mean.tolist())]
        joined = [f"{cells[i]}: {cells[i + 1]} ({cells[i + 2]})" for i in range(0, len(cells), 3)]
        rows.append([size_text, f"{len(means)} {kind}", *joined])
    return Table(
        title="False alarms that came, against the rate that was asked for",
        columns=["windows of recordings", "machines", *(f"{asked:.1%}" for asked in ASKED)],
        rows=rows,
        note="The rate that came, in windows of recordings that were not enrolled: hits at that threshold, and in "
        "brackets those of the threshold that would have given each machine that very rate.",
    )


def _came(one: Enrolment, prior: Prior) -> list[float]:
    """Return for each of `ASKED` what came, the hits, and those where the ROC of the same scores has the same rate."""
    believed = expected(observed(one.far, one.near, one.recording), prior)
    normal = np.concatenate(list(one.unheard))
    weight = np.concatenate([np.full(len(scores), 1 / len(scores) / len(one.unheard)) for scores in one.unheard])
    order = np.argsort(-normal)
    rate = np.cumsum(weight[order])
    row: list[float] = []
    for asked in ASKED:
        threshold = believed.threshold(asked)
        came = float(weight[normal > threshold].sum())
        best = normal[order][min(int(np.searchsorted(rate, came + 1e-9)), normal.size - 1)]
        hits = [float(np.mean(one.faulty > x)) if one.faulty.size else math.nan for x in (threshold, best)]
        row += [came, *hits]
    return row


def main() -> None:
    """Learn or try, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prior", description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=("learn", "table", "long"))
    parser.add_argument("base", type=Path, help="a detector whose ear hears")
    parser.add_argument("data", type=Path, nargs="*", help="real machines")
    parser.add_argument("--noise", type=Path, nargs="+", default=[], help="recordings to lay over machines")
    parser.add_argument("--folder", type=Path, default=Path("build/prior"), help="keeps what was heard")
    parser.add_argument("--without", nargs="*", default=[], help="families that nothing is learnt from")
    wanted = parser.parse_args()
    folder = wanted.folder / detectors.file_sha256(wanted.base / "model.onnx")[:12]
    is_long = wanted.command == "long"
    ear = detectors.read(wanted.base).ear()
    found = machines(ear, wanted.data, wanted.noise, folder / "heard", long_only=is_long)
    made = enrolments(found, folder / "enrolled", LONG_SIZES if is_long else SIZES)
    if wanted.command != "learn":
        prior_of = {one.family: PRIOR for one in made} if is_long else priors(made)
        print(promises(made, prior_of).as_markdown())
        return
    prior = learn(made, wanted.without)
    print("\n".join(f"{field.name}={getattr(prior, field.name):.3g}," for field in fields(prior)))


if __name__ == "__main__":
    main()

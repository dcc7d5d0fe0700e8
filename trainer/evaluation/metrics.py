"""AUC and pAUC of labelled clips, what a mean of them is good to, and whether two systems differ at all.

Figures are fractions, 1 is perfect and 0.5 chance. The pAUC is that of the challenge: the area up to a false-positive
rate of 0.1, corrected after McClish (1989), so that chance is 0.5 too. A machine's AUC is the harmonic mean over its
cells, and so is its pAUC, as the challenge and the paper have it; a cell is a section, or a domain of a section.

Intervals are bootstrap percentiles. A replicate draws clips with replacement, normal clips and anomalies of each cell
apart, and seeds with replacement where there are several; all systems see the same draws of the same clips, so that
differences are paired.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from edge.errors import EarshotError
from trainer.evaluation.scores import Scored, System

PAUC_MAX_FPR: Final = 0.1
"""p of the paper's pAUC."""

NOISE: Final = 0.01
"""One point: a smaller difference is never a claim, whatever its interval."""

REPLICATES: Final = 1000
INTERVAL: Final = (0.025, 0.975)

Cells = Literal["section", "domain"]
"""What one AUC is of: a section with both domains (one threshold has to do for both), or each domain of it."""

FloatArray = NDArray[np.float64]
Picks = str | Mapping[str, str]
"""One score for all machines, or one for each machine."""

_TINY: Final = 1e-12


@dataclass(frozen=True)
class Grade:
    """How well one score tells the anomalies of one section (and domain, or both) from its normal clips."""

    machine: str
    section: str
    domain: str
    score: str
    auc: float
    pauc: float
    n_normal: int
    n_anomaly: int
    false_alarms: float | None
    """Share of the normal clips above their thresholds; None where a clip has none."""
    hits: float | None
    """Share of the anomalies above them."""

    @property
    def hmean(self) -> float:
        """Harmonic mean of AUC and pAUC."""
        return harmonic_mean([self.auc, self.pauc])


@dataclass(frozen=True)
class Figure:
    """A value, the interval that it lies in with 95 %, and what each seed gave."""

    value: float
    low: float
    high: float
    seeds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Triple:
    """AUC, pAUC and the harmonic mean of the two."""

    auc: Figure
    pauc: Figure
    hmean: Figure


@dataclass(frozen=True)
class Summary:
    """One system, over all its seeds, with one score or one for each machine.

    mean           over machines: of AUC, of pAUC, and of the harmonic mean of the two
    harmonic_mean  of all machines' AUCs and pAUCs together, as in the paper's Table 3
    """

    system: str
    scores: Mapping[str, str]
    machines: Mapping[str, Triple]
    mean: Triple
    harmonic_mean: Figure
    n_seeds: int


@dataclass(frozen=True)
class Difference:
    """First minus second, of the mean over machines of the harmonic mean of AUC and pAUC; a paired bootstrap."""

    value: float
    low: float
    high: float

    @property
    def is_outside_noise(self) -> bool:
        """Whether it may be claimed: at least one point, and an interval without zero."""
        return abs(self.value) >= NOISE and not self.low <= 0 <= self.high


def harmonic_mean(values: Sequence[float]) -> float:
    """Return the harmonic mean; values of zero make it as good as zero."""
    return float(_harmonic(np.asarray(values, np.float64), axis=0))


def auc_and_pauc(truth: NDArray[np.bool_], values: FloatArray) -> tuple[float, float]:
    """Return AUC and pAUC of scores, shape (n,), of which `truth` says which are anomalies."""
    return float(roc_auc_score(truth, values)), float(roc_auc_score(truth, values, max_fpr=PAUC_MAX_FPR))


def grade(scored: Sequence[Scored], scores: Sequence[str] | None = None) -> list[Grade]:
    """Return the grades of every section, in both domains together and in each, for every score (or the given ones).

    Cells with clips of one label only have no grade; clips without a label are left aside.
    """
    labelled = [s for s in scored if s.clip.label]
    grades = []
    for name in dict.fromkeys(s.clip.name for s in labelled):
        own = [s for s in labelled if s.clip.name == name]
        domains = sorted({s.clip.domain for s in own})
        for domain in ["all", *(domains if len(domains) > 1 else [])]:
            cell = [s for s in own if domain in ("all", s.clip.domain)]
            truth = _truth(cell)
            if not truth.any() or truth.all():
                continue
            names = scores or [score for score in cell[0].scores if all(score in s.scores for s in cell)]
            grades += [_grade(cell, truth, domain, score) for score in names]
    return grades


def summarise(
    runs: Sequence[System], pick: Picks, cells: Cells = "section", *, replicates: int = REPLICATES
) -> Summary:
    """Return how well one system does with one score for all machines, or the picked one of each.

    runs: the same system, a seed each, on the same clips. Raises EarshotError if no cell has clips of both labels.
    """
    machines, drawn = _replicates(runs, pick, cells, _both_labels(runs, cells), replicates)
    return Summary(
        runs[0].name,
        {machine: _picked(pick, machine) for machine in machines},
        {machine: _triple(drawn[:, :, i]) for i, machine in enumerate(machines)},
        _triple(drawn, over_machines=True),
        _figure(_harmonic(drawn.reshape(*drawn.shape[:2], -1), axis=-1)),
        len(runs),
    )


def figures(runs: Sequence[System], pick: Picks, cells: Cells = "section") -> dict[str, tuple[float, float]]:
    """Return AUC and pAUC of each machine, the mean over the runs; empty if no cell has clips of both labels."""
    try:
        wanted = _both_labels(runs, cells)
    except EarshotError:
        return {}
    machines, drawn = _replicates(runs, pick, cells, wanted, 0)
    means = drawn[:, 0].mean(0)
    return {machine: (float(auc), float(pauc)) for machine, (auc, pauc) in zip(machines, means, strict=True)}


def pick_scores(runs: Sequence[System], candidates: Sequence[str], cells: Cells = "section") -> dict[str, str]:
    """Return the score that is best on each machine, by the harmonic mean of AUC and pAUC. This uses test labels."""
    of_score = {score: figures(runs, score, cells) for score in candidates}
    return {
        machine: max(candidates, key=lambda score: harmonic_mean(of_score[score][machine]))
        for machine in of_score[candidates[0]]
    }


def difference(
    first: Sequence[System],
    second: Sequence[System],
    pick_first: Picks,
    pick_second: Picks,
    cells: Cells = "section",
    *,
    replicates: int = REPLICATES,
) -> Difference:
    """Return how much better `first` is than `second`, on the clips that all their runs have scored."""
    both = common([*first, *second])
    first, second = both[: len(first)], both[len(first) :]
    wanted = _both_labels(both, cells)
    drawn = [
        _harmonic(_replicates(runs, pick, cells, wanted, replicates)[1], axis=-1).mean(-1)
        for runs, pick in ((first, pick_first), (second, pick_second))
    ]
    figures = [_figure(values) for values in drawn]
    means = [_over_seeds(values, salt) for salt, values in enumerate(drawn)]
    low, high = np.quantile(means[0] - means[1], INTERVAL)
    return Difference(figures[0].value - figures[1].value, float(low), float(high))


def common(systems: Sequence[System]) -> list[System]:
    """Return the systems with the clips that all of them have scored: only then is a comparison one.

    A section that a system has not scored at all, because its method cannot, does not count against the others' clips.
    """
    shared: dict[str, set[Path]] = {}
    for system in systems:
        own: dict[str, set[Path]] = {}
        for s in system.scored:
            own.setdefault(s.clip.name, set()).add(s.clip.path)
        for name, paths in own.items():
            shared[name] = shared[name] & paths if name in shared else paths
    return [
        replace(system, scored=[s for s in system.scored if s.clip.path in shared[s.clip.name]]) for system in systems
    ]


def by_name(systems: Sequence[System]) -> dict[str, list[System]]:
    """Return the runs of each system, in the order of their first."""
    runs: dict[str, list[System]] = {}
    for system in systems:
        runs.setdefault(system.name, []).append(system)
    return runs


def _grade(cell: Sequence[Scored], truth: NDArray[np.bool_], domain: str, score: str) -> Grade:
    values = np.array([s.scores[score] for s in cell])
    auc, pauc = auc_and_pauc(truth, values)
    above = None
    if all(score in s.thresholds for s in cell):
        above = values > np.array([s.thresholds[score] for s in cell])
    return Grade(
        machine=cell[0].clip.machine,
        section=cell[0].clip.section,
        domain=domain,
        score=score,
        auc=auc,
        pauc=pauc,
        n_normal=int((~truth).sum()),
        n_anomaly=int(truth.sum()),
        false_alarms=None if above is None else float(above[~truth].mean()),
        hits=None if above is None else float(above[truth].mean()),
    )


Cell = tuple[str, str, str]
"""Machine, section, and domain or `all`."""


def _cell_of(scored: Scored, cells: Cells) -> Cell:
    return scored.clip.machine, scored.clip.section, scored.clip.domain if cells == "domain" else "all"


def _both_labels(runs: Sequence[System], cells: Cells) -> list[Cell]:
    """Return the cells, sorted, that have normal clips and anomalies in every run."""
    found = []
    for run in runs:
        seen = {(_cell_of(s, cells), s.clip.label) for s in run.scored if s.clip.label}
        found.append({cell for cell, label in seen if label == "anomaly" and (cell, "normal") in seen})
    shared = sorted(set.intersection(*found)) if found else []
    if not shared:
        raise EarshotError("no section has normal and anomalous test clips that every system scored: nothing to grade")
    return shared


def _replicates(
    runs: Sequence[System], pick: Picks, cells: Cells, wanted: Sequence[Cell], n: int
) -> tuple[list[str], FloatArray]:
    """Return the machines, and AUC and pAUC of each in every replicate, (n_seeds, 1 + n, n_machines, 2).

    The first replicate is the clips as they are.
    """
    figures: dict[str, list[FloatArray]] = {}
    for cell in wanted:
        own = [
            sorted((s for s in run.scored if s.clip.label and _cell_of(s, cells) == cell), key=lambda s: s.clip.path)
            for run in runs
        ]
        score = _picked(pick, cell[0])
        drawn: FloatArray | None = None
        rows = []
        for i, scored in enumerate(own):
            truth = _truth(scored)
            if drawn is None or [s.clip.path for s in scored] != [s.clip.path for s in own[i - 1]]:
                drawn = _draws(truth, n, cell)
            rows.append(_areas(truth, np.array([s.scores[score] for s in scored]), drawn))
        figures.setdefault(cell[0], []).append(np.stack(rows))
    per_machine = [_harmonic(np.stack(own), axis=0) for own in figures.values()]
    return list(figures), np.stack(per_machine, axis=2)


def _picked(pick: Picks, machine: str) -> str:
    return pick if isinstance(pick, str) else pick[machine]


def _truth(scored: Sequence[Scored]) -> NDArray[np.bool_]:
    return np.array([s.clip.label == "anomaly" for s in scored], bool)


def _draws(truth: NDArray[np.bool_], n: int, cell: Cell) -> FloatArray:
    """Return how often each clip is drawn, (1 + n, n_clips): once each, then n replicates. A cell, always the same."""
    rng = np.random.default_rng(zlib.crc32("/".join(cell).encode()))
    counts = np.ones((1 + n, truth.size))
    for label in (True, False):
        places = np.flatnonzero(truth == label)
        counts[1:, places] = rng.multinomial(places.size, np.full(places.size, 1 / places.size), size=n)
    return counts


def _areas(truth: NDArray[np.bool_], values: FloatArray, counts: FloatArray) -> FloatArray:
    """Return AUC and pAUC, (R, 2), of clips that count as often as `counts`, (R, n), says."""
    order = np.argsort(-values, kind="stable")
    ends = np.flatnonzero(np.diff(values[order], append=-np.inf))  # clips of one score are one step of the curve
    counts = counts[:, order]
    start = np.zeros((len(counts), 1))
    hits = np.hstack([start, np.cumsum(counts * truth[order], axis=1)[:, ends]])
    false = np.hstack([start, np.cumsum(counts * ~truth[order], axis=1)[:, ends]])
    hits, false = hits / hits[:, -1:], false / false[:, -1:]

    width, rise = np.diff(false), np.diff(hits)
    auc = (width * (hits[:, :-1] + rise / 2)).sum(1)
    inside = np.clip((PAUC_MAX_FPR - false[:, :-1]) / np.maximum(width, _TINY), 0, 1)
    partial = (inside * width * (hits[:, :-1] + inside * rise / 2)).sum(1)
    least = PAUC_MAX_FPR**2 / 2
    pauc = 0.5 * (1 + (partial - least) / (PAUC_MAX_FPR - least))
    areas: FloatArray = np.stack([auc, pauc], axis=1)
    return areas


def _harmonic(values: FloatArray, axis: int) -> FloatArray:
    mean: FloatArray = 1 / (1 / np.maximum(values, _TINY)).mean(axis=axis)
    return mean


def _triple(drawn: FloatArray, *, over_machines: bool = False) -> Triple:
    """drawn: (n_seeds, 1 + n, 2), or with the machines before the last axis."""
    h = _harmonic(drawn, axis=-1)
    auc, pauc = drawn[..., 0], drawn[..., 1]
    return Triple(*(_figure(x.mean(-1) if over_machines else x) for x in (auc, pauc, h)))


def _figure(drawn: FloatArray) -> Figure:
    """drawn: (n_seeds, 1 + n), the value first, then the replicates."""
    low, high = np.quantile(_over_seeds(drawn), INTERVAL)
    return Figure(float(drawn[:, 0].mean()), float(low), float(high), tuple(float(v) for v in drawn[:, 0]))


def _over_seeds(drawn: FloatArray, salt: int = 0) -> FloatArray:
    """Return the replicates, (n,), each the mean over seeds that are drawn with replacement too."""
    n_seeds, n = len(drawn), drawn.shape[1] - 1
    chosen = np.random.default_rng([n_seeds, salt]).integers(n_seeds, size=(n, n_seeds))
    mean: FloatArray = drawn[chosen, np.arange(1, n + 1)[:, None]].mean(1)
    return mean

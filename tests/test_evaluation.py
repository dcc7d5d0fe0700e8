"""Figures that a reviewer would check by hand, and tables that claim no more than the clips allow."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn: the train extra is not installed")

from edge import detector as detectors
from edge.detector import Detector
from edge.detector.naming import Label
from edge.errors import EarshotError
from edge.judge import DOMAINS, Domain
from edge.source import read_blocks
from tests.conftest import DEMO, Ran
from trainer.dataset import Clip, read_layout
from trainer.evaluation import paper
from trainer.evaluation.challenge import write_challenge
from trainer.evaluation.honest import comparison, fixed_score, honest_table
from trainer.evaluation.metrics import (
    NOISE,
    Difference,
    auc_and_pauc,
    common,
    difference,
    figures,
    grade,
    harmonic_mean,
    pick_scores,
    summarise,
)
from trainer.evaluation.scores import Scored, System, read_system, write_system
from trainer.evaluation.scoring import DOMAIN_RULES, score_clips, score_detector
from trainer.evaluation.tables import (
    Configuration,
    Table,
    Tables,
    paper_tables,
    read_tables,
    write_tables,
)

Draw = Callable[[np.random.Generator, bool], Mapping[str, float]]


def system(
    name: str = "ours",
    *,
    seed: int = 0,
    machines: Sequence[str] = ("fan",),
    sections: Sequence[str] = ("00",),
    n: int = 20,
    default_score: str = "fused",
    draw: Draw | None = None,
) -> System:
    """A system on made-up clips, the same whatever the seed: `n` of each label, section and domain."""
    rng = np.random.default_rng([seed, *name.encode()])
    draw = draw or (lambda rng, anomaly: {"fused": float(rng.normal()) + 2 * anomaly})
    scored = []
    for machine in machines:
        for section in sections:
            for domain in DOMAINS:
                for i in range(2 * n):
                    label: Label = "anomaly" if i % 2 else "normal"
                    path = Path(machine, "test", f"section_{section}_{domain}_test_{label}_{i:04d}.wav")
                    clip = Clip(path, machine, section, domain, "test", label)
                    scored.append(Scored(clip, draw(rng, bool(i % 2)), {default_score: 1.0}))
    return System(name, seed, f"{name} for a test", scored, default_score)


def of_scores(values: Mapping[str, Sequence[float]], labels: str, *, domains: str = "") -> list[Scored]:
    """Clips of fan/00 by hand: labels as `nna`, domains as `sst`."""
    scored = []
    known: Mapping[str, Label | None] = {"n": "normal", "a": "anomaly", "?": None}
    for i, letter in enumerate(labels):
        domain: Domain = "target" if domains[i : i + 1] == "t" else "source"
        clip = Clip(Path(f"{i}.wav"), "fan", "00", domain, "test", known[letter])
        scored.append(Scored(clip, {name: own[i] for name, own in values.items()}, dict.fromkeys(values, 2.5)))
    return scored


# --- Figures by hand ---


def test_auc_and_pauc_are_those_of_a_hand() -> None:
    # Normal 1, 2, 3, 4; anomalies 2.5, 5: of eight pairs 2.5 wins two and 5 wins four.
    (own,) = grade(of_scores({"fused": [1, 2, 3, 4, 2.5, 5]}, "nnnnaa"))
    assert own.auc == pytest.approx(6 / 8)
    # Up to a false-positive rate of 0.1 one of two anomalies is found: area 0.05 of 0.1, and after McClish
    # (1 + (0.05 - 0.005) / (0.1 - 0.005)) / 2.
    assert own.pauc == pytest.approx((1 + 0.045 / 0.095) / 2)
    assert own.hmean == pytest.approx(2 / (1 / own.auc + 1 / own.pauc))
    assert (own.n_normal, own.n_anomaly) == (4, 2)
    assert (own.false_alarms, own.hits) == (0.5, 0.5)  # above 2.5: 3 and 4, 5


def test_a_cell_of_one_label_has_no_grade_and_secret_labels_are_left_aside() -> None:
    grades = grade(of_scores({"fused": [1, 2, 3, 9]}, "nna?", domains="stts"))
    assert [(g.domain, g.n_normal, g.n_anomaly) for g in grades] == [("all", 2, 1), ("target", 1, 1)]


def test_without_thresholds_there_are_no_false_alarms_to_count() -> None:
    scored = [replace(s, thresholds={}) for s in of_scores({"fused": [1, 2]}, "na")]
    assert [(g.false_alarms, g.hits) for g in grade(scored)] == [(None, None)]


def test_a_machine_is_the_harmonic_mean_of_its_cells() -> None:
    # Source perfect, target all wrong but for one pair of four.
    scored = of_scores({"fused": [1, 1, 2, 2, 3, 5, 4, 2]}, "nnaannaa", domains="sssstttt")
    run = System("ours", 0, "", scored, "fused")
    auc, _ = figures([run], "fused", "domain")["fan"]
    assert auc == pytest.approx(harmonic_mean([1.0, 0.25]))
    assert figures([run], "fused", "section")["fan"][0] == pytest.approx(9 / 16)


def test_the_bootstrap_draws_the_areas_that_scikit_learn_gives(rng: np.random.Generator) -> None:
    from trainer.evaluation.metrics import _areas

    for digits in (1, 9):  # with ties and without
        truth = np.arange(60) % 3 == 0
        values = np.round(rng.normal(size=60) + truth, digits)
        places = np.concatenate([rng.choice(np.flatnonzero(truth == label), 20) for label in (True, False)])
        counts = np.bincount(places, minlength=60)[None].astype(float)
        assert _areas(truth, values, counts)[0] == pytest.approx(auc_and_pauc(truth[places], values[places]))


def test_no_labels_no_figures() -> None:
    run = System("ours", 0, "", of_scores({"fused": [1, 2]}, "??"), "fused")
    assert figures([run], "fused") == {}
    with pytest.raises(EarshotError, match="normal and anomalous"):
        summarise([run], "fused")


# --- The paper's own figures, through our functions ---


def flat(column: paper.Figures) -> list[float]:
    return [value for pair in column.values() for value in pair]


@pytest.mark.parametrize("column", paper.TABLE_3)
def test_the_harmonic_means_of_table_3_come_out(column: str) -> None:
    mean = harmonic_mean(flat(paper.TABLE_3[column]))
    assert mean == pytest.approx(paper.TABLE_3_HARMONIC_MEAN[column], abs=0.01)


@pytest.mark.parametrize("column", paper.TABLE_4)
def test_the_harmonic_means_of_table_4_come_out(column: str) -> None:
    auc, pauc = zip(*paper.TABLE_4[column].values(), strict=True)
    assert (harmonic_mean(auc), harmonic_mean(pauc)) == pytest.approx(paper.TABLE_4_HARMONIC_MEAN[column], abs=0.01)


@pytest.mark.parametrize(("ours", "table_3"), [("ours", "specific"), ("top1", "top1")])
def test_table_3_is_the_harmonic_mean_of_the_domains_of_table_4(ours: str, table_3: str) -> None:
    for machine, printed in paper.TABLE_3[table_3].items():
        domains = [paper.TABLE_4[f"{domain}/{ours}"][machine] for domain in ("source", "target")]
        means = [harmonic_mean(values) for values in zip(*domains, strict=True)]
        assert means == pytest.approx(printed, abs=0.015)


def test_what_picking_was_worth_to_the_paper() -> None:
    """One fixed score gives 60.5 to 61.6; a score a machine, 66.4; the high-pass, 69.4; then 73.1, and 75.5."""
    picking = paper_tables({}, {}, with_paper=True)[-1]
    printed = [cell.paper for cells in picking.rows.values() for cell in cells]
    assert printed == pytest.approx([60.5, 61.6, 66.4, 69.4, 73.1, 75.5], abs=0.05)


# --- Intervals ---


def test_intervals_cover_what_they_promise() -> None:
    """Of normal scores two deviations apart, the AUC is Phi(2 / sqrt 2) = 0.9214."""
    truth, covered = 0.92135, 0
    for seed in range(120):
        run = system(seed=seed, n=25)
        own = summarise([run], "fused", replicates=200).machines["fan"].auc
        covered += own.low <= truth <= own.high
    # 95 % of 120 is 114, give or take 2.4; percentile intervals of so few clips are known to be a little narrow.
    assert 104 <= covered <= 120


def test_seeds_are_a_mean_and_widen_the_interval() -> None:
    good = system("ours", seed=0)
    turned = [replace(s, scores={"fused": s.scores["fused"] * (-1) ** i}) for i, s in enumerate(good.scored)]
    poor = replace(good, seed=1, scored=turned)
    alone, both = (summarise(runs, "fused").mean.hmean for runs in ([good], [good, poor]))
    assert both.value == pytest.approx(np.mean(both.seeds))
    assert both.seeds[0] == alone.value
    assert both.high - both.low > 2 * (alone.high - alone.low)


def test_a_system_is_not_better_than_itself() -> None:
    run = system()
    own = difference([run], [run], "fused", "fused")
    assert (own.value, own.low, own.high, own.is_outside_noise) == (0, 0, 0, False)


def test_pairing_sees_what_two_intervals_cannot() -> None:
    """The same clips, a little less noise on each: the difference is sure although the intervals overlap."""
    shared = {}

    def draw(spread: float) -> Draw:
        def one(rng: np.random.Generator, anomaly: bool) -> Mapping[str, float]:
            return {"fused": spread * float(rng.normal()) + 2 * anomaly}

        return one

    better, worse = (replace(system("ours", n=60, draw=draw(spread)), name=str(spread)) for spread in (1.2, 1.6))
    shared = {run.name: summarise([run], "fused").mean.hmean for run in (better, worse)}
    own = difference([better], [worse], "fused", "fused")
    assert shared["1.6"].high > shared["1.2"].low
    assert own.is_outside_noise
    assert own.value > NOISE


@pytest.mark.parametrize(
    ("own", "claimed"),
    [
        (Difference(0.02, 0.01, 0.03), True),
        (Difference(-0.02, -0.03, -0.01), True),
        (Difference(0.02, -0.01, 0.05), False),
        (Difference(0.009, 0.008, 0.0095), False),
    ],
)
def test_nothing_is_claimed_inside_the_noise(own: Difference, claimed: bool) -> None:
    assert own.is_outside_noise is claimed


def test_systems_are_compared_on_the_clips_that_all_have() -> None:
    whole = system("whole", sections=("00", "01"))
    part = replace(whole, name="part", scored=[s for s in whole.scored if s.clip.section == "00"][1:])
    both = common([whole, part])
    assert len(both[1].scored) == 79
    # A section that one of them cannot score at all is not taken from the other.
    assert len(both[0].scored) == 79 + 80


# --- The honest table ---


def three_scores(rng: np.random.Generator, anomaly: bool) -> Mapping[str, float]:
    return {
        "fused": float(rng.normal()) + 2 * anomaly,
        "mahalanobis": float(rng.normal()) + 1 * anomaly,
        "confidence": float(rng.normal()) + 3 * anomaly,
    }


def one_score(rng: np.random.Generator, anomaly: bool) -> Mapping[str, float]:
    return {"error": float(rng.normal()) + anomaly}


def test_the_three_columns() -> None:
    ours = [system("ours", seed=seed, machines=("fan", "pump"), draw=three_scores) for seed in (0, 1)]
    peer = system("peer", machines=("fan", "pump"), default_score="error", draw=one_score)
    table = honest_table([*ours, peer])
    row, other = table.rows
    assert row.seeds == (0, 1)
    assert row.fixed is not None
    assert other.fixed is not None
    assert set(row.fixed.scores.values()) == {"mahalanobis"}
    assert set(row.label_free.scores.values()) == {"fused"}
    assert set(row.oracle_picked.scores.values()) == {"confidence"}
    assert row.fixed.mean.hmean.value < row.label_free.mean.hmean.value < row.oracle_picked.mean.hmean.value
    assert other.fixed == other.label_free == other.oracle_picked
    assert set(row.fixed_range) == {"mahalanobis", "confidence"}
    assert table.best == "ours"
    text = table.as_text()
    assert "uses test labels" in text
    assert "ours is better, in points, than peer" in text
    assert json.loads(json.dumps(table.as_json()))["uses_test_labels"] == ["oracle_picked"]


def test_a_row_without_one_recipe_has_no_fixed_figure() -> None:
    run = replace(system(draw=three_scores), one_recipe=False)
    table = honest_table([run])
    assert table.rows[0].fixed is None
    assert "recipe differs" in table.as_text()


def test_a_system_that_lacks_sections_is_marked_and_not_called_the_best() -> None:
    whole = system("whole", sections=("00", "01"), draw=lambda rng, a: {"fused": rng.normal() + a})
    part = system("part", sections=("00",), draw=lambda rng, a: {"fused": rng.normal() + 5 * a})
    table = honest_table([whole, part])
    assert table.best == "whole"
    assert "part (1 of 2 sections)" in comparison(table)
    assert "on the sections that they can score: part" in table.as_text()


def test_level_systems_are_said_to_be_level() -> None:
    one, two = (system(name, draw=three_scores) for name in ("one", "two"))
    assert "Inside the noise" in honest_table([one, two]).as_text()


def test_the_comparison_has_a_column_a_machine_and_stars_the_best() -> None:
    runs = [system(name, machines=("fan", "pump"), draw=three_scores) for name in ("one", "two")]
    head, *rows = comparison(honest_table(runs)).splitlines()
    assert head.split()[-5:-1] == ["fan", "pump", "mean", "h-mean"]
    assert sum(row.count("*") for row in rows) == 3  # one a machine, and one before the name


def test_the_fixed_score_of_a_peer_is_its_own() -> None:
    assert fixed_score(system(default_score="error", draw=one_score)) == "error"


# --- Tables 2 to 7 ---


@pytest.fixture(scope="module")
def tables() -> list[Table]:
    def draw(rng: np.random.Generator, anomaly: bool) -> Mapping[str, float]:
        return three_scores(rng, anomaly)

    def run(name: str) -> list[System]:
        return [system(name, machines=paper.MACHINES, sections=("03", "04"), n=6, draw=draw)]

    configurations = {machine: Configuration(*both) for machine, both in paper.TABLE_7.items()}
    peer = system("ae", machines=paper.MACHINES, default_score="error", draw=one_score)
    high_pass = run("hp")
    high_pass = [replace(r, scored=[s for s in r.scored if s.clip.machine not in ("fan", "pump")]) for r in high_pass]
    return paper_tables(
        {
            "baseline": [peer],
            "general": run("general"),
            "general/high-pass": high_pass,
            "plain": run("plain"),
            "centre": run("centre"),
            "specific": run("specific"),
        },
        configurations,
        with_paper=True,
    )


def test_the_tables_have_the_shape_of_the_papers(tables: list[Table]) -> None:
    assert [table.number for table in tables] == [2, 3, 4, 5, 6, 7, 0]
    shapes = {table.number: (len(table.rows), len(table.columns)) for table in tables}
    assert shapes == {2: (7, 4), 3: (15, 4), 4: (8, 8), 5: (7, 4), 6: (7, 4), 7: (3, 7), 0: (7, 1)}
    assert all(len(cells) == len(table.columns) for table in tables for cells in table.rows.values())
    assert list(tables[0].rows) == list(paper.MACHINES)


def test_the_papers_figures_stand_beside_ours(tables: list[Table]) -> None:
    by_number = {table.number: table for table in tables}
    assert [cell.paper for cell in by_number[2].rows["fan"]] == [72.64, 54.59, 86.15, 71.45]
    assert [cell.paper for cell in by_number[3].rows["harmonic mean"]] == [56.38, 66.80, 69.43, 75.53]
    assert [cell.paper for cell in by_number[5].rows["fan"]] == [86.15, 71.45, None, None]
    assert [cell.paper for cell in by_number[7].rows["f_min"]] == ["1000", "2000", "0", "2000", "0", "0", "2000"]
    assert [cell.ours for cell in by_number[7].rows["Centerloss"]] == [str(c) for c, _ in paper.TABLE_7.values()]
    text = by_number[3].as_text()
    assert "75.53%" in text
    assert "Scores picked with test labels" in text


def test_missing_systems_leave_columns_empty(tables: list[Table]) -> None:
    assert all(cells[1].ours is None for cells in tables[1].rows.values())  # Top1-like
    assert tables[3].rows["pump"][2].ours is None  # no high-pass for pump


def test_on_other_data_the_papers_column_is_left_out() -> None:
    general = [system("general", draw=three_scores)]
    shown = paper_tables({"general": general}, {"fan": Configuration(True, 0)}, with_paper=False)
    assert not any(table.has_paper for table in shown)
    assert "paper" not in shown[0].as_text()


def test_the_score_of_a_machine_is_the_better_one() -> None:
    run = system(draw=lambda rng, a: {"mahalanobis": rng.normal(), "confidence": rng.normal() + 3 * a})
    assert pick_scores([run], ["mahalanobis", "confidence"], "domain") == {"fan": "confidence"}


def test_tables_come_back_from_their_folder(tables: list[Table], tmp_path: Path) -> None:
    whole = Tables("on made-up clips", tables, {"min": "honest"}, {})
    write_tables(tmp_path, whole)
    assert read_tables(tmp_path).as_text() == whole.as_text() == (tmp_path / "tables.txt").read_text()[:-1]
    with pytest.raises(EarshotError, match=r"tables\.json"):
        read_tables(tmp_path / "elsewhere")


def test_only_the_real_thing_is_dcase_2021(tmp_path: Path) -> None:
    clips = []
    for machine in paper.MACHINES:
        for section in ("00", "01", "02", "03", "04", "05"):
            for domain in DOMAINS:
                for i in range(1000 if domain == "source" else 3):
                    path = tmp_path / machine / "train" / f"section_{section}_{domain}_train_normal_{i:04d}.wav"
                    clips.append(Clip(path, machine, section, domain, "train", "normal"))
    assert paper.is_dcase_2021(clips)
    assert not paper.is_dcase_2021([clip for clip in clips if clip.section != "05"])
    assert not paper.is_dcase_2021(clips[::2])
    (tmp_path / "dataset.json").touch()  # the simulator's
    assert not paper.is_dcase_2021(clips)


# --- Files ---


def test_a_system_comes_back_from_its_file(tmp_path: Path) -> None:
    run = system(draw=three_scores)
    write_system(run, tmp_path / "scores.json")
    assert read_system(tmp_path / "scores.json") == run
    (tmp_path / "scores.json").write_text("{}")
    with pytest.raises(EarshotError, match=r"scores\.json"):
        read_system(tmp_path / "scores.json")


def official(folder: Path, truth: Mapping[tuple[str, str, str], Mapping[str, int]]) -> dict[str, list[float]]:
    """AUC, pAUC and F1 as the official evaluator computes them: it sorts rows of text and goes by their place."""
    figures: dict[str, list[float]] = {"auc": [], "pauc": [], "f1": []}
    for (machine, section, domain), labels in truth.items():
        y_true = [label for _, label in sorted(labels.items())]
        columns = {}
        for what in ("anomaly_score", "decision_result"):
            name = f"{what}_{machine}_section_{section}_{domain}_test.csv"
            assert name.removesuffix(".csv").split("_")[2] == machine
            raw = (folder / name).read_bytes()
            assert b"\r" not in raw
            with (folder / name).open() as file:
                rows = sorted(csv.reader(file))
            assert [row[0] for row in rows] == sorted(labels)
            columns[what] = [float(row[1]) for row in rows]
            assert len(rows) == len(y_true)
        auc, pauc = auc_and_pauc(np.array(y_true, bool), np.array(columns["anomaly_score"]))
        decided = columns["decision_result"]
        assert set(decided) <= {0.0, 1.0}
        hits = sum(1 for d, y in zip(decided, y_true, strict=True) if d and y)
        figures["auc"].append(auc)
        figures["pauc"].append(pauc)
        figures["f1"].append(2 * hits / (sum(decided) + sum(y_true)))
    return figures


def test_the_challenges_files_give_its_evaluator_our_figures(tmp_path: Path) -> None:
    run = system(machines=("fan", "ToyCar"), sections=("03", "04"))
    written = write_challenge(run.scored, tmp_path, "fused", [s.clip for s in run.scored])
    assert len(written) == 2 * 2 * 2 * 2
    truth: dict[tuple[str, str, str], dict[str, int]] = {}
    for s in run.scored:
        key = (s.clip.machine, s.clip.section, s.clip.domain)
        truth.setdefault(key, {})[s.clip.path.name] = int(s.clip.label == "anomaly")
    read = official(tmp_path, truth)
    ours = [g for g in grade(run.scored) if g.domain != "all"]
    assert harmonic_mean(read["auc"]) == pytest.approx(harmonic_mean([g.auc for g in ours]))
    assert harmonic_mean(read["pauc"]) == pytest.approx(harmonic_mean([g.pauc for g in ours]))
    assert 0.5 < np.mean(read["f1"]) < 1


def test_files_of_other_formats_are_named_as_the_ground_truth_has_them(tmp_path: Path) -> None:
    clip = Clip(Path("fan/test/section_03_source_test_0000.flac"), "fan", "03", "source", "test", None)
    write_challenge([Scored(clip, {"fused": 1.5}, {"fused": 1.0})], tmp_path, "fused")
    text = (tmp_path / "anomaly_score_fan_section_03_source_test.csv").read_text()
    assert text == "section_03_source_test_0000.wav,1.5\n"
    assert (tmp_path / "decision_result_fan_section_03_source_test.csv").read_text().endswith(".wav,1\n")


def test_a_clip_without_a_score_would_shift_the_rest_and_is_refused(tmp_path: Path) -> None:
    run = system()
    with pytest.raises(EarshotError, match=r"section_00.*no score"):
        write_challenge(run.scored[1:], tmp_path, "fused", [s.clip for s in run.scored])
    assert list(tmp_path.iterdir()) == []


def test_without_thresholds_there_are_no_decisions(tmp_path: Path) -> None:
    write_challenge([replace(s, thresholds={}) for s in system().scored], tmp_path, "fused")
    assert {path.name.split("_")[0] for path in tmp_path.iterdir()} == {"anomaly"}


# --- A detector, and the command ---


def in_two_domains(detector: Detector) -> Detector:
    """The same, as if its machine were 20 dB louder in the target domain."""
    (name, section), *_ = detector.sections.items()
    parts = {
        part: replace(own, domains=DOMAINS, means=np.concatenate([own.means, own.means + 20]))
        for part, own in section.statistics.parts.items()
    }
    statistics = replace(section.statistics, parts=parts)
    card = section.card.model_copy(update={"domains": list(DOMAINS)})
    return replace(detector, sections={name: replace(section, card=card, statistics=statistics)})


def test_a_clip_is_heard_once_for_both_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Path] = []

    def listened(path: Path, *arguments: object, **more: object) -> object:
        heard.append(path)
        return read_blocks(path, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("edge.detector.archive.read_blocks", listened)
    clips = read_layout([DEMO / "clips"])
    systems, _ = score_detector(detectors.read(DEMO / "detector"), clips, DOMAIN_RULES)
    assert [len(system.scored) for system in systems.values()] == [6, 6]
    assert sorted(heard) == [clip.path for clip in clips]


def test_the_oracle_knows_the_domain_and_min_takes_the_nearer() -> None:
    detector = in_two_domains(detectors.read(DEMO / "detector"))
    clips = read_layout([DEMO / "clips"])
    systems, _ = score_detector(detector, clips, DOMAIN_RULES)
    scored = {rule: system.scored for rule, system in systems.items()}
    assert len(scored["min"]) == len(scored["oracle"]) == 6
    for nearer, own in zip(scored["min"], scored["oracle"], strict=True):
        assert nearer.scores["levels"] <= own.scores["levels"] * (1 + 1e-5)
        assert nearer.thresholds["fused"] == next(iter(detector.sections.values())).card.thresholds["fused"]
    # Said to be of the domain that they are not of, the clips of the healthy machine are farther from normal.
    other = [replace(clip, domain="target") for clip in clips]
    far = score_clips(detector, other, "oracle")[0]
    pairs = list(zip(far, scored["oracle"], strict=True))
    assert all(a.scores["levels"] > b.scores["levels"] for a, b in pairs if a.clip.label == "normal")


def test_the_command_as_the_readme_has_it(earshot: Callable[..., Ran], tmp_path: Path) -> None:
    ran = earshot("evaluate", DEMO / "detector", DEMO / "clips", "--output", tmp_path / "report")
    assert ran.code == 0
    assert "pump mean" in ran.stdout
    assert "label-free" in ran.stdout
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert {"detector", "sha256", "grades", "skipped"} <= set(metrics)
    with (tmp_path / "report" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:5] == ["path", "machine", "section", "domain", "label"]
    assert len(rows) == 6
    files = sorted(p.name for p in (tmp_path / "report" / "challenge" / "teams").rglob("*.csv"))
    assert files == [f"{w}_pump_section_00_source_test.csv" for w in ("anomaly_score", "decision_result")]


def test_several_detectors_are_several_rows(earshot: Callable[..., Ran], three_sections: Path, tmp_path: Path) -> None:
    ran = earshot("evaluate", DEMO / "detector", three_sections, DEMO / "clips", "--output", tmp_path / "r")
    assert ran.code == 0
    assert str(three_sections) in ran.stdout  # one name twice: told apart by folder
    assert "Inside the noise" in ran.stdout


def test_without_labels_there_are_scores_only(earshot: Callable[..., Ran], tmp_path: Path) -> None:
    folder = tmp_path / "data" / "pump" / "source_test"
    folder.mkdir(parents=True)
    for i, file in enumerate(sorted((DEMO / "clips" / "pump" / "test").glob("*.flac"))[:2]):
        (folder / f"section_00_source_test_{i:04d}.flac").symlink_to(file)
    ran = earshot("evaluate", DEMO / "detector", tmp_path / "data", "--output", tmp_path / "r")
    assert ran.code == 0
    assert "nothing to grade" in ran.stdout
    assert json.loads((tmp_path / "r" / "metrics.json").read_text())["grades"] == []
    scores = next((tmp_path / "r" / "challenge").rglob("anomaly_score_pump_section_00_source_test.csv"))
    assert len(scores.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "clips", "--output", "r"], "not a detector folder"),
        ([DEMO / "detector", "--output", "r"], "Missing argument 'DATA...'"),
        ([DEMO / "detector", DEMO / "clips"], "Missing option '--output'"),
        ([DEMO / "detector", DEMO / "clips", "--output", "r", "--sections", "07"], "section 07: no test clips in"),
        ([DEMO / "detector", DEMO / "clips", "--output", "r", "--seeds", "one"], "expected whole numbers"),
        ([DEMO / "detector", DEMO / "clips", "--output", "r", "--seeds", "1"], "expected --compare with it"),
        ([DEMO / "clips", "--output", "r", "--compare", "--seeds", ","], "--seeds is empty"),
        (["--output", "r"], "Missing argument '[DETECTOR...] DATA...'"),
        (["--tables", "nowhere"], "tables.json"),
    ],
)
def test_what_is_wrong_is_said(
    earshot: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = earshot("evaluate", *arguments)
    assert ran.code in (1, 2)
    assert said in ran.stderr
    assert not (tmp_path / "r").exists()

"""The report: one file, well formed, with every figure, every name as it is, and sound that is the clip's."""

import base64
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile
from sklearn.metrics import roc_auc_score

from edge import detector as detectors
from edge.ear.frontend import FrontendSettings
from edge.errors import EarshotError
from edge.judge.calibration import RateCurve
from edge.source import read_samples
from tests.conftest import DEMO, Ran
from trainer.dataset import Clip, read_layout
from trainer.evaluation.scores import Scored, System
from trainer.evaluation.tables import Cell as PaperCell
from trainer.evaluation.tables import Table as PaperTable
from trainer.report import (
    Column,
    Example,
    Facts,
    Point,
    ReportContent,
    Run,
    Table,
    paper_tables,
    report_of,
    sound,
    write_report,
)
from trainer.report.examples import worst
from trainer.report.report import render

VOID = {"meta", "link", "br", "path", "circle", "rect", "use", "image", "hr", "img", "input"}
HOSTILE = "<script>alert('1')</script>&amp;\"$x_1$"


class Page(HTMLParser):
    """A page as it is read: refuses tags that do not fit together, and keeps ids, links, loads, texts and headings."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("href", "xlink:href"):
                (self.loads if tag in ("link", "image") else self.links).append(value or "")
            elif name in ("src", "srcset", "data", "poster", "action"):
                self.loads.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


def clip(
    machine: str, label: Literal["normal", "anomaly"], number: int, domain: Literal["source", "target"] = "source"
) -> Clip:
    path = Path(f"/data/{machine}/test/section_00_{domain}_test_{label}_{number:04}.wav")
    return Clip(path, machine, "00", domain, "test", label)


def scored_of(machine: str, n: int = 8, threshold: float | None = 2.0) -> list[Scored]:
    """Clips of both domains and labels, whose scores overlap a little."""
    rng = np.random.default_rng(len(machine))
    labels: Sequence[tuple[Literal["normal", "anomaly"], float]] = (("normal", 1.0), ("anomaly", 1.4))
    domains: Sequence[Literal["source", "target"]] = ("source", "target")
    thresholds = {} if threshold is None else {"fused": threshold}
    return [
        Scored(clip(machine, label, i, domain), {"fused": float(centre + 0.6 * rng.random())}, thresholds)
        for domain in domains
        for label, centre in labels
        for i in range(n)
    ]


def points_of(name: str, n: int = 5) -> list[Point]:
    rng = np.random.default_rng(0)
    kinds: Sequence[Literal["train", "normal", "anomaly"]] = ("train", "normal", "anomaly")
    return [Point(name, kind, rng.normal(size=6).astype(np.float32)) for kind in kinds for _ in range(n)]


def content_of(*machines: str) -> ReportContent:
    scored = [s for machine in machines for s in scored_of(machine)]
    epochs = [{"epoch": 1, "loss": 3.0, "softmax": 2.5, "centre": 0.5, "accuracy": 0.5}, {"epoch": 2, "softmax": 1.0}]
    return ReportContent(
        title="a detector",
        systems=[System("ours", 0, "a network", scored, "fused")],
        runs=[Run("general", epochs), Run("specific", epochs)],
        points=[point for machine in machines for point in points_of(f"{machine}/00")],
        facts=[Facts("a detector", [("SHA-256", "0" * 64)], "preset: streaming")],
        warnings=["one clip is silent"],
        promised=0.05,
        created="2026-01-01 00:00 UTC",
        command="earshot report",
    )


@pytest.fixture(scope="module")
def demo() -> ReportContent:
    """The shipped detector on its own test clips."""
    return report_of([detectors.read(DEMO / "detector")], read_layout([DEMO / "clips" / "pump"]), command="earshot ...")


@pytest.fixture(scope="module")
def demo_page(demo: ReportContent) -> str:
    return render(demo)


# --- One file ---


def test_nothing_is_loaded_from_anywhere(demo_page: str) -> None:
    page = Page(demo_page)

    assert page.loads
    assert all(load.startswith("data:") for load in page.loads)
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"https?://|@import|<script", demo_page)
    assert all(target.startswith("#") for target in re.findall(r"url\(\s*[\"']?([^)\"']*)", demo_page))


def test_the_page_is_well_formed_and_its_links_lead_somewhere(demo_page: str) -> None:
    page = Page(demo_page)

    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    used = set(re.findall(r"url\(#([^)]*)\)", demo_page))
    assert used
    assert used <= set(page.ids)


def test_every_section_has_its_figures() -> None:
    machines = [f"machine{i}" for i in range(5)]
    text = render(content_of(*machines))

    for machine in machines:
        for figures in ("ROC", "Histogram", "Map"):
            labels = re.findall(rf'aria-label="({figures}[^"]*)"', text)
            assert len(labels) == len(machines) + (figures == "Map")
        assert len(re.findall(rf"<h3>{machine}/00</h3><svg", text)) == 3
    assert 'class="grid dense"' not in text


def test_many_detectors_are_folded() -> None:
    facts = [Facts(f"detector {i}", [("name", f"{i}")], "recipe") for i in range(4)]

    assert Page(render(ReportContent("x", facts=facts))).tags.count("details") == 8
    assert Page(render(ReportContent("x", facts=facts[:3]))).tags.count("details") == 3


def test_many_sections_stand_closer() -> None:
    scored = [s for i in range(13) for s in scored_of(f"m{i}", n=2)]
    text = render(ReportContent("many", systems=[System("ours", 0, "", scored, "fused")]))

    assert text.count('class="grid dense"') == 2
    assert 'class="scroll tall"' in text


def test_text_of_figures_is_text_with_units() -> None:
    text = render(content_of("pump"))

    for label in ("false-alarm rate", "score (fused)", "normal test clips above the threshold, %", "nats", "epoch"):
        assert re.search(rf"<text [^>]*>{re.escape(label)}</text>", text), label
    assert "DejaVu Sans'" not in text  # the fonts are the page's


def test_no_stand_in_colour_is_left(demo_page: str) -> None:
    assert not re.search("#0a0[0-9a-f]{3}", demo_page)
    for name in set(re.findall(r"var\((--[a-z0-9-]+)\)", demo_page)) - {"--c"}:
        assert demo_page.count(f"{name}: ") >= 1, name


def test_the_same_report_twice_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_report(tmp_path / name, content_of("pump"))

    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    output.write_text("the one before", encoding="utf-8")
    broken = replace(content_of("pump"), points=[Point("pump/00", "train", np.zeros(n, np.float32)) for n in (3, 4)])

    with pytest.raises(ValueError, match="shape"):
        write_report(output, broken)

    assert output.read_text(encoding="utf-8") == "the one before"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


# --- Names ---


def test_names_are_shown_as_they_are() -> None:
    content = content_of(HOSTILE.replace("/", "!"))
    table = Table(HOSTILE, HOSTILE, [Column(HOSTILE, note=HOSTILE)], [[HOSTILE]])
    text = render(
        replace(
            content,
            title=HOSTILE,
            runs=[Run(HOSTILE, content.runs[0].epochs)],
            examples=[Example("miss", HOSTILE, Path("/nowhere") / HOSTILE.replace("/", "!"), why=HOSTILE)],
            honest=[table],
            compared=[table],
            facts=[Facts(HOSTILE, [(HOSTILE, HOSTILE)], HOSTILE)],
            warnings=[HOSTILE],
            command=HOSTILE,
        )
    )
    page = Page(text)

    assert "script" not in page.tags
    assert page.text.count(HOSTILE) >= 12
    assert f"{HOSTILE.replace('/', '!')}/00" in page.text


def test_names_that_are_no_text_can_be_written(tmp_path: Path) -> None:
    machine = "pump\udcff\x07"  # what Python makes of a byte that is no UTF-8, and a bell
    content = replace(content_of(machine), warnings=[f"{machine}: silent"])

    write_report(tmp_path / "report.html", content)

    assert "pump" in (tmp_path / "report.html").read_text(encoding="utf-8")


# --- Sound ---


def test_players_hold_the_samples_of_the_clips(demo: ReportContent, demo_page: str) -> None:
    players = re.findall(r'<audio [^>]*src="data:audio/flac;base64,([^"]+)"', demo_page)
    shown = [e for kind in ("false alarm", "miss", "ordinary") for e in demo.examples if e.kind == kind]

    assert len(players) == len(shown) == 6
    for player, example in zip(players, shown, strict=True):
        samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(player)), dtype="float32")
        assert rate_hz == 16_000
        np.testing.assert_array_equal(samples, read_samples(example.path)[: samples.size])
        assert samples.size >= 9.6 * rate_hz


def test_spectrograms_have_axes_in_seconds_and_hertz(demo_page: str) -> None:
    assert demo_page.count("time, s</text>") == demo_page.count("frequency, Hz (mel)</text>") == 6
    assert demo_page.count('href="data:image/png;base64,') >= 6


@pytest.mark.parametrize("f_min_hz", [0.0, 1000.0, 2000.0])
def test_the_axis_of_a_spectrogram_is_that_of_the_detector(write_wav: Callable[..., Path], f_min_hz: float) -> None:
    path = write_wav("tone.wav", np.sin(np.arange(32_000, dtype=np.float32)))
    example = Example("miss", "pump/00", path, frontend=FrontendSettings(f_min_hz=f_min_hz))

    drawn = sound.show([example])[0].spectrogram

    labels = re.findall(r"<text[^>]*>([0-9]+k?)</text>", drawn)
    shown_hz = {float(label[:-1]) * 1000 for label in labels if label.endswith("k")}
    assert {4000.0, 8000.0} <= shown_hz
    assert min(shown_hz) >= f_min_hz


def test_a_clip_that_cannot_be_read_says_so_and_the_others_are_shown(write_wav: Callable[..., Path]) -> None:
    good = write_wav("good.wav", np.full(16_000, 0.1, np.float32))
    examples = [Example("miss", "pump/00", Path("/nowhere/gone.wav"), 1.0), Example("miss", "pump/00", good, 1.0)]

    page = Page(render(ReportContent("one", examples=examples)))

    assert "cannot be shown: /nowhere/gone.wav" in page.text
    assert page.tags.count("audio") == 1


def test_a_long_clip_is_cut_and_says_so(write_wav: Callable[..., Path]) -> None:
    rng = np.random.default_rng(0)
    long = write_wav("long.wav", (0.1 * rng.standard_normal(16_000 * 30)).astype(np.float32))

    shown = sound.show([Example("miss", "pump/00", long)])[0]

    assert shown.note == "the first 12 s"
    encoded = base64.b64decode(shown.player.partition(",")[2])
    assert soundfile.info(io.BytesIO(encoded)).duration == 12.0


def test_the_page_does_not_grow_without_end(write_wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    paths = [write_wav(f"{i}.wav", (0.1 * rng.standard_normal(32_000)).astype(np.float32)) for i in range(3)]
    monkeypatch.setattr(sound, "MAX_PLAYER_BYTES", 150_000)

    shown = sound.show([Example("miss", "pump/00", path) for path in paths])

    assert [bool(own.player) for own in shown] == [True, True, False]
    assert "too large" in shown[2].note
    assert shown[2].spectrogram


# --- Little data ---


def test_a_report_of_nothing_says_so() -> None:
    assert "no labelled test clips" in Page(render(ReportContent("nothing"))).text


def test_without_anomalies_there_are_histograms_and_no_curves() -> None:
    normal = [s for s in scored_of("pump") if s.clip.label == "normal"]
    page = Page(render(ReportContent("normal only", systems=[System("ours", 0, "", normal, "fused")])))

    assert "no ROC: clips of one label only" in page.text
    assert "16 normal, 0 anomalous" in page.text
    assert "AUC" not in page.text.partition("ROC of each section")[0].partition("</style>")[2]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_cell_without_a_value_is_a_dash(value: float | None) -> None:
    table = Table("t", "", [Column("a", "score"), Column("b", "share")], [[value, 0.1234]])

    assert re.search(
        r'<td class="n">\N{EN DASH}</td>\s*<td class="n">12.3\N{NARROW NO-BREAK SPACE}%</td>',
        render(ReportContent("x", details=[table])),
    )


def test_scores_that_are_no_number_are_left_out() -> None:
    scored = scored_of("pump")
    scored[0] = replace(scored[0], scores={"fused": float("nan")})

    assert "15 normal, 16 anomalous" in render(ReportContent("x", systems=[System("ours", 0, "", scored, "fused")]))


def test_one_score_for_all_clips_can_be_drawn() -> None:
    scored = [replace(s, scores={"fused": 0.0}) for s in scored_of("pump", threshold=None)]

    assert "<svg" in render(ReportContent("x", systems=[System("ours", 0, "", scored, "fused")]))


@pytest.mark.parametrize("n", [1, 2])
def test_a_map_of_few_clips_can_be_drawn(n: int) -> None:
    render(ReportContent("x", points=points_of("pump/00", 1)[:n]))
    render(ReportContent("x", points=[*points_of("pump/00", 1)[:n], *points_of("fan/00", 1)[:n]]))


# --- What it says ---


def test_the_curve_says_what_its_area_is() -> None:
    scored = scored_of("pump")
    truth = [s.clip.label == "anomaly" for s in scored]
    values = [s.scores["fused"] for s in scored]

    auc, pauc = roc_auc_score(truth, values), roc_auc_score(truth, values, max_fpr=0.1)
    page = Page(render(content_of("pump")))

    assert f"both {auc:.2f} / {pauc:.2f}" in page.text
    assert f"{auc:.3f}" in page.text


def test_false_alarms_are_counted_against_the_promise() -> None:
    scored = [replace(s, thresholds={"fused": 1.3}) for s in scored_of("pump")]
    normal = [s.scores["fused"] for s in scored if s.clip.label == "normal"]
    n_above = sum(score > 1.3 for score in normal)

    text = Page(render(replace(content_of("pump"), systems=[System("ours", 0, "", scored, "fused")]))).text

    assert 0 < n_above < 16
    assert f"{n_above} of 16 normal clips; promised: 5\N{NARROW NO-BREAK SPACE}%" in text


def test_the_worst_are_those_furthest_on_the_wrong_side() -> None:
    low = [Scored(clip("a", "normal", i), {"s": float(i)}, {"s": 10.0}) for i in range(6)]
    high = [Scored(clip("b", "anomaly", i), {"s": 1.0 + i}, {"s": 1.0 if i else 100.0}) for i in range(6)]

    false_alarms, misses = worst([*low, *high], "s", most=2)

    assert [s.clip.path.stem[-4:] for s in false_alarms] == ["0005", "0004"]
    assert [s.clip.path.stem[-4:] for s in misses] == ["0000", "0001"]  # 1 of 100, 2 of 1


def test_sections_without_thresholds_are_compared_by_rank() -> None:
    quiet = [Scored(clip("a", "normal", i), {"s": -100.0 + i}) for i in range(4)]
    loud = [Scored(clip("b", "normal", i), {"s": 100.0 + i}) for i in range(4)]

    false_alarms, _ = worst([*quiet, *loud], "s", most=2)

    assert {s.clip.machine for s in false_alarms} == {"a", "b"}


def test_the_honest_table_says_what_used_test_labels(demo: ReportContent) -> None:
    page = Page(render(replace(demo, examples=())))

    assert [column.note for column in demo.honest[0].columns if column.name == "oracle-picked"] == ["uses test labels"]
    assert "uses test labels" in page.text


def test_systems_are_compared_and_what_is_inside_the_noise_is_not_claimed() -> None:
    rng = np.random.default_rng(1)
    ours = System("ours", 0, "a network", scored_of("pump", 20), "fused")
    same = replace(ours, name="twin", about="the same")
    noise = [replace(s, scores={"own": float(rng.random())}, thresholds={}) for s in ours.scored]

    content = report_of([], [], systems=[ours, same, System("dice", 0, "chance", noise, "own")])
    _, verdicts = content.honest

    assert {row[0]: row[2] for row in verdicts.rows} == {
        "twin": "inside the noise: not to be told apart",
        "dice": "ours is better",
    }
    assert [row[-1] for row in content.compared[0].rows] == ["a network", "the same", "chance"]
    assert content.title == "ours"


def test_what_the_detector_is_stands_in_the_report(demo: ReportContent, demo_page: str) -> None:
    detector = detectors.read(DEMO / "detector")
    page = Page(demo_page)

    assert detector.card.name in page.text
    assert detector.sha256 in page.text
    assert f"the network of general, {detector.card.training['windows']} windows" in page.text
    assert "preset streaming" in page.text
    assert demo.promised == detector.card.false_alarm_rate


def test_false_alarms_a_week_are_shown_where_they_are_promised() -> None:
    shipped = detectors.read(DEMO / "detector")
    section = shipped.section(None)
    rates, thresholds = np.array([1.0, 2.0, 4.0]), np.array([3.0, 2.0, 1.0])
    curve = RateCurve(rates, thresholds, rates / 2, rates * 2, hours=100.0)
    detector = replace(
        shipped,
        card=shipped.card.model_copy(update={"false_alarms_per_week": 2.0}),
        sections={section.card.name: replace(section, weekly={"fused": curve})},
    )
    system = System("ours", 0, "", scored_of("pump"), "fused")

    content = report_of([detector], [], systems=[system])

    assert content.promised is None  # a share of clips is not what was promised
    assert content.details[0].rows[0][-1] == "2 [1, 4]"
    assert ("false alarms promised", "2 a week") in content.facts[0].rows
    assert "dashed" not in Page(render(content)).text
    assert report_of([shipped], [], systems=[system]).details[0].rows[0][-1] is None


def test_tables_of_the_paper_have_its_figures_beside_ours() -> None:
    cells = [PaperCell(71.234, 75.53), PaperCell(None, 80.0), PaperCell("True", None)]
    table = PaperTable(3, "Results", ["a/AUC", "a/pAUC", "b"], {"pump": cells, "harmonic mean": cells})

    shown = paper_tables([table])[0]

    assert shown.title == "Table 3 of the paper"
    assert [column.name for column in shown.columns] == ["", "a AUC", "a pAUC", "b"]
    assert list(shown.rows[0]) == ["pump", "71.23 (75.53)", "\N{EN DASH} (80.00)", "True"]
    assert shown.emphasis == {1}


def test_a_run_that_went_on_after_a_kill_has_each_epoch_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    rows = [{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 2.0}, {"epoch": 2, "loss": 1.5}, {"epoch": 3, "loss": 1.0}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    system = System("ours", 0, "", scored_of("pump", 2), "fused")

    content = report_of([], [], systems=[system], runs=[run])

    assert [row["loss"] for row in content.runs[0].epochs] == [3.0, 1.5, 1.0]
    with pytest.raises(EarshotError, match=r"nowhere.metrics\.jsonl"):
        report_of([], [], systems=[system], runs=[tmp_path / "nowhere"])


def test_runs_in_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = [tmp_path / machine / "run" for machine in ("general", "fan")]
    for run in runs:
        run.mkdir(parents=True)
        (run / "metrics.jsonl").write_text('{"epoch": 1, "loss": 1.0}\n', encoding="utf-8")
    system = System("ours", 0, "", scored_of("pump", 2), "fused")

    content = report_of([], [], systems=[system], runs=runs)

    assert [run.name for run in content.runs] == ["general", "fan"]


# --- The command ---


def test_the_command_writes_the_report(earshot: Callable[..., Ran], tmp_path: Path) -> None:
    output = tmp_path / "folder" / "report.html"

    ran = earshot("report", DEMO / "detector", DEMO / "clips" / "pump", "--output", output)

    assert ran.code == 0, ran.stderr
    assert ran.stdout.startswith(f"{output}: ")
    text = output.read_text(encoding="utf-8")
    assert "pump/00" in text
    assert len(text) < 15_000_000
    assert "earshot report" in Page(text).text


def test_the_command_shows_what_is_wrong_with_the_data(earshot: Callable[..., Ran], tmp_path: Path) -> None:
    folder = tmp_path / "pump" / "test"
    folder.mkdir(parents=True)
    for path in (DEMO / "clips" / "pump" / "test").iterdir():
        (folder / path.name).symlink_to(path)
    soundfile.write(folder / "section_00_source_test_normal_0009.wav", np.full(160_000, 0.25), 16_000)
    (folder / "section_00_source_test_normal_0010.wav").write_bytes(b"RIFF")

    ran = earshot("report", DEMO / "detector", tmp_path / "pump", "--output", tmp_path / "report.html")

    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert ran.code == 0
    for name in ("normal_0009.wav", "normal_0010.wav"):
        assert name in ran.stderr
        assert name in text


def test_the_command_shows_what_evaluate_has_compared(earshot: Callable[..., Ran], tmp_path: Path) -> None:
    what = (DEMO / "detector", DEMO / "clips" / "pump")
    output = tmp_path / "report.html"
    assert earshot("evaluate", *what, "--output", tmp_path / "evaluation").code == 0

    ran = earshot("report", *what, "--evaluation", tmp_path / "evaluation", "--output", output)

    assert ran.code == 0, ran.stderr
    assert "Label-free" in Page(output.read_text(encoding="utf-8")).text

    metrics = tmp_path / "evaluation" / "metrics.json"
    metrics.write_text(metrics.read_text(encoding="utf-8").replace('"sha256": "', '"sha256": "0'), encoding="utf-8")
    assert "expected" in earshot("report", *what, "--evaluation", metrics.parent, "--output", output).stderr
    ran = earshot("report", *what, "--evaluation", tmp_path, "--output", output)
    assert ran.code == 1
    assert str(tmp_path / "metrics.json") in ran.stderr


def test_the_command_refuses_data_of_other_machines(earshot: Callable[..., Ran], tmp_path: Path) -> None:
    folder = tmp_path / "valve" / "test"
    folder.mkdir(parents=True)
    soundfile.write(folder / "section_00_source_test_normal_0000.wav", np.zeros(16_000), 16_000)

    ran = earshot("report", DEMO / "detector", tmp_path / "valve", "--output", tmp_path / "report.html")

    assert ran.code == 1
    assert "no clips of pump/00" in ran.stderr
    assert not (tmp_path / "report.html").exists()


def test_the_report_hears_recordings_as_every_command_does(earshot: Callable[..., Ran], tmp_path: Path) -> None:
    folder = tmp_path / "pump" / "test"
    folder.mkdir(parents=True)
    for path in (DEMO / "clips" / "pump" / "test").glob("*spd_3010*"):
        data = path.read_bytes()
        (folder / path.name).write_bytes(data[: len(data) * 98 // 100] if "anomaly" in path.name else data)
    what = "report", DEMO / "detector", tmp_path / "pump", "--output", tmp_path / "report.html"

    assert "anomaly_0004" in (ran := earshot(*what)).stderr
    assert "left out: " in ran.stderr
    ran = earshot(*what, "--salvage")
    assert (ran.code, "left out: " in ran.stderr) == (0, False), ran.stderr
    assert "cut off after 9.728 s" in ran.stderr


def test_a_channel_that_no_recording_has_leaves_a_report_that_says_so(
    earshot: Callable[..., Ran], tmp_path: Path
) -> None:
    ran = earshot(
        "report", DEMO / "detector", DEMO / "clips" / "pump", "--output", tmp_path / "report.html", "--channel", "1"
    )

    assert ran.code == 0, ran.stderr
    assert "made from channel 0, and hears channel 1 now" in ran.stderr
    assert "left out: " in Page((tmp_path / "report.html").read_text(encoding="utf-8")).text

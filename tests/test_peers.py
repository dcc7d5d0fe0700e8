"""The methods of the field on one small factory: whole, finite, repeatable, and right where it can be known."""

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch", reason="torch: the train extra is not installed")

from edge.ear.frontend import FrontendSettings  # noqa: E402
from edge.judge.gaussian import fit_whitening  # noqa: E402
from export.bundle import export  # noqa: E402
from trainer.dataset import Clip, read_layout  # noqa: E402
from trainer.evaluation.scores import System  # noqa: E402
from trainer.features import compute_features  # noqa: E402
from trainer.peers import Peer, all_peers, folder_of  # noqa: E402
from trainer.peers.autoencoder import Autoencoder, Rebuilder  # noqa: E402
from trainer.peers.bands import Bands  # noqa: E402
from trainer.peers.density import GaussianMixture, NearestNeighbour  # noqa: E402
from trainer.peers.ensemble import Ensemble  # noqa: E402
from trainer.peers.flow import AutoregressiveFlow, Flow  # noqa: E402
from trainer.peers.frames import Sounds, Stacks  # noqa: E402
from trainer.peers.mobilenetv2 import Classifier, MobileNetV2  # noqa: E402
from trainer.peers.peer import PeerScores  # noqa: E402
from trainer.peers.preset import Preset  # noqa: E402
from trainer.peers.subcluster_adacos import SubclusterAdacos  # noqa: E402
from trainer.recipe import Recipe  # noqa: E402
from trainer.simulator.dataset import Plan, write  # noqa: E402

SMALL = Recipe(
    epochs=1, batch_size=16, stem_channels=4, stage_channels=(8, 8, 8), head_channels=16, compile=False, threads=1
)
STREAMING = Preset("streaming", recipe=SMALL, export=export)
CHEAP: tuple[Peer, ...] = (
    Autoencoder(epochs=2, vectors_an_epoch=3000, batch_size=128),
    MobileNetV2(width=0.25, hop=120, epochs=1, patches_an_epoch=64),
    Bands(),
    Flow(hop=8, steps=2, hidden=32, epochs=3, vectors_an_epoch=1024, batch_size=64),
    SubclusterAdacos(centres=2, recipe=SMALL),
)
LITTLE: tuple[Peer, ...] = (
    *CHEAP,
    NearestNeighbour(preset=STREAMING),
    GaussianMixture(preset=STREAMING),
    Ensemble(members=(CHEAP[1], CHEAP[4], CHEAP[3])),
    Preset("paper", recipe=SMALL, export=export),
    STREAMING,
)
"""Every peer, with so little effort that a test can afford it."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As many as the last time: sums come out otherwise, and what was trained before is compared with."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class Factory:
    """Clips to learn from and clips to score, and where the peers work."""

    train: Sequence[Clip]
    test: Sequence[Clip]
    root: Path

    def run(self, peer: Peer, seed: int = 0) -> System:
        return peer.fit_and_score(self.train, self.test, seed=seed, folder=folder_of(self.root, peer.name, seed))


@pytest.fixture(scope="session")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Factory:
    """Two machines of two sections; one of the anomalies whistles so loudly that nobody could miss it."""
    folder = tmp_path_factory.mktemp("peers")
    write(
        folder / "data",
        Plan(machines=("fan", "pump"), sections=2, train_source=8, train_target=2, test=1),
    )
    clips = read_layout([folder / "data"])
    victim = next(clip for clip in clips if clip.split == "test" and clip.label == "normal")
    samples, rate_hz = soundfile.read(victim.path, dtype="float32")
    tone = 0.5 * np.sin(2 * np.pi * 3000 / rate_hz * np.arange(len(samples)))
    path = victim.path.with_name(victim.path.name.replace("normal_0000", "anomaly_0099"))
    soundfile.write(path, np.clip(samples + tone, -1, 1), rate_hz, subtype="PCM_16")

    clips = read_layout([folder / "data"])
    train, test = ([clip for clip in clips if clip.split == split] for split in ("train", "test"))
    return Factory(train, test, folder / "peers")


def test_the_order_is_that_of_the_table() -> None:
    names = list(all_peers(export))
    assert names == [peer.name for peer in LITTLE]
    assert names == [
        *("autoencoder", "mobilenetv2", "bands", "flow", "subcluster_adacos"),
        *("nearest_neighbour", "gaussian_mixture", "ensemble", "paper", "streaming"),
    ]


@pytest.mark.parametrize("peer", [peer for peer in LITTLE if peer.name != "paper"], ids=lambda peer: peer.name)
def test_every_test_clip_has_finite_scores(peer: Peer, factory: Factory) -> None:
    system = factory.run(peer)
    assert [scored.clip for scored in system.scored] == factory.test
    assert system.default_score in system.score_names
    assert system.name == peer.name
    values = [[scored.scores[name] for name in system.score_names] for scored in system.scored]
    assert np.isfinite(values).all()
    assert (np.std(values, axis=0) > 0).all()


@pytest.mark.parametrize("peer", [CHEAP[0], CHEAP[1], CHEAP[3], CHEAP[4]], ids=lambda peer: peer.name)
def test_the_same_seed_gives_the_same_scores_and_another_does_not(peer: Peer, factory: Factory) -> None:
    first = factory.run(peer)
    again = peer.compute(factory.train, factory.test, seed=0, folder=factory.root / "again")
    other = peer.compute(factory.train, factory.test, seed=1, folder=factory.root / "other")
    of_first = {scored.clip.path: dict(scored.scores) for scored in first.scored}
    assert again.test == of_first
    assert other.test != of_first


@pytest.mark.parametrize("peer", [CHEAP[0], CHEAP[2], CHEAP[3]], ids=lambda peer: peer.name)
def test_a_loud_whistle_is_stranger_than_every_normal_clip(peer: Peer, factory: Factory) -> None:
    system = factory.run(peer)
    whistle = next(s for s in system.scored if "anomaly_0099" in s.clip.path.name)
    for name in system.score_names:
        normal = [
            s.scores[name] for s in system.scored if s.clip.name == whistle.clip.name and s.clip.label == "normal"
        ]
        assert whistle.scores[name] > max(normal)


# --- What is kept, and what a peer may know ---


@dataclass(frozen=True)
class Spy(Peer):
    """Scores a clip by the length of its name, and looks at what it is given."""

    about: ClassVar[str] = "a spy"
    default_score: ClassVar[str] = "length"
    name: str = "spy"
    factor: float = 1.0

    def compute(self, train: Sequence[Clip], test: Sequence[Clip], *, seed: int, folder: Path) -> PeerScores:
        assert all(clip.label == "normal" for clip in train)
        assert all(clip.label is None for clip in test)
        (folder / f"called-{self.factor}-{seed}-{len(train)}").touch(exist_ok=False)
        return PeerScores({clip.path: {"length": self.factor * len(clip.path.name)} for clip in test[1:]})


def test_no_peer_sees_a_label_and_no_work_is_done_twice(factory: Factory, tmp_path: Path) -> None:
    def run(peer: Peer, train: Sequence[Clip] = factory.train, seed: int = 0) -> System:
        return peer.fit_and_score(train, factory.test, seed=seed, folder=tmp_path)

    assert run(Spy()) == run(Spy())  # the second call would find the file of the first
    assert [scored.clip for scored in run(Spy()).scored] == factory.test[1:]
    assert (
        run(Spy(factor=2)).scored[0].scores["length"]
        == 2 * run(Spy(factor=1), factory.train[1:]).scored[0].scores["length"]
    )
    assert run(Spy(), seed=3).seed == 3


def test_scores_of_other_settings_are_put_aside_and_another_judge_scores_anew(
    factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(peer: Peer) -> System:
        return peer.fit_and_score(factory.train, factory.test, seed=0, folder=tmp_path)

    run(Spy())
    before = (tmp_path / "scores.json").read_text()
    run(Spy(factor=2))
    assert (tmp_path / "scores.json.1").read_text() == before
    monkeypatch.setattr("trainer.peers.peer.judging", lambda: {"fused": ["1.23"]})
    with pytest.raises(FileExistsError):  # it computes what it has computed before
        run(Spy(factor=2))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": "of something else"}'])
def test_half_a_result_is_no_result(text: str, factory: Factory, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text(text)
    assert (
        len(Spy().fit_and_score(factory.train, factory.test, seed=0, folder=tmp_path).scored) == len(factory.test) - 1
    )
    assert json.loads((tmp_path / "scores.json").read_text())["test"]


def test_what_has_no_score_is_named(factory: Factory) -> None:
    one_section = [clip for clip in factory.test if clip.name in ("pump/00", "fan/00", "fan/01")]
    train = [clip for clip in factory.train if clip.name != "pump/01"]
    system = CHEAP[1].fit_and_score(train, one_section, seed=0, folder=factory.root / "one_section")
    assert {scored.clip.machine for scored in system.scored} == {"fan"}
    assert "not available for pump: one section only" in system.about

    unheard = [clip for clip in factory.train if clip.name != "fan/01"]
    bands = Bands().fit_and_score(unheard, factory.test, seed=0, folder=factory.root / "unheard")
    assert {scored.clip.name for scored in bands.scored} == {"fan/00", "pump/00", "pump/01"}
    assert "not available for fan/01: no normal clip to learn from" in bands.about


def test_presets_carry_their_thresholds_and_densities_use_their_network(factory: Factory) -> None:
    system = factory.run(STREAMING)
    assert system.score_names == ["fused", "mahalanobis", "bands", "l90", "confidence"]
    assert set(system.scored[0].thresholds) == set(system.score_names)
    factory.run(LITTLE[5])
    assert not (folder_of(factory.root, "nearest_neighbour", 0) / "run").exists()
    assert (folder_of(factory.root, "streaming", 0) / "detector" / "detector.json").exists()


# --- Stacks of frames ---


def test_stacks_are_the_frames_one_after_the_other(factory: Factory, tmp_path: Path) -> None:
    clips = list(factory.train[:2])
    store = compute_features(clips, FrontendSettings(), tmp_path)
    sounds = Sounds(store, {clip.path: i for i, clip in enumerate(store.clips)})
    stacks = Stacks(sounds, clips, length=64, hop=8)
    n_each = (311 - 64) // 8 + 1
    assert len(stacks) == 2 * n_each
    taken = stacks.take(np.array([0, n_each + 2]))
    np.testing.assert_array_equal(taken[0], store[0][:, :64].T)
    np.testing.assert_array_equal(taken[1], store[1][:, 16:80].T)

    means = stacks.mean_of_clips(np.arange(len(stacks), dtype=float), "place")
    assert means[clips[0].path]["place"] == pytest.approx((n_each - 1) / 2)
    epoch = np.concatenate(list(stacks.batches(np.random.default_rng(0), 16, 50)))
    assert len(set(epoch.tolist())) == 50


# --- Autoencoder ---


def test_the_autoencoder_rebuilds_what_it_has_learned() -> None:
    """Sound of two degrees of freedom passes a bottleneck of eight; noise of the same loudness does not."""
    torch.manual_seed(0)
    bands, n = 16, 512
    learned = torch.randn(n, 2) @ torch.randn(2, 5 * bands)
    network = Rebuilder(torch.zeros(bands), torch.ones(bands), frames=5)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(150):
        loss = network(learned.reshape(n, 5, bands)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        error = network(learned.reshape(n, 5, bands)).mean() / learned.square().mean()
        strange = network(torch.randn(n, 5, bands) * learned.std()).mean() / learned.square().mean()
    assert error < 0.1
    assert strange > 5 * error


# --- MobileNetV2 ---


def test_mobilenetv2_is_as_large_as_published() -> None:
    """2.2 million parameters without its classifier at width 1, for three input channels (CVPR 2018: 3.4 with it)."""
    network = Classifier(torch.zeros(128), torch.ones(128), n_classes=1000, width=1.0)
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    assert n_parameters == 3_504_872 - 2 * 32 * 9  # torchvision's count, less two input channels of the first layer
    half = Classifier(torch.zeros(128), torch.ones(128), n_classes=6, width=0.5)
    assert half(torch.zeros(2, 64, 128)).shape == (2, 6)


# --- Flow ---


def shaken_flow(n_dims: int, n_context: int = 2) -> AutoregressiveFlow:
    """A flow that is not the identity any more."""
    torch.manual_seed(0)
    flow = AutoregressiveFlow(n_dims, n_context, steps=3, hidden=16)
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return flow.double()


@pytest.mark.parametrize("n_dims", [1, 2, 5, 40])
def test_the_log_determinant_is_that_of_the_jacobian(n_dims: int) -> None:
    flow = shaken_flow(n_dims)
    x, context = torch.randn(n_dims, dtype=torch.float64), torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    _, log_det = flow(x[None], context)
    jacobian = torch.autograd.functional.jacobian(lambda point: flow(point[None], context)[0][0], x)
    assert log_det.item() == pytest.approx(torch.linalg.slogdet(jacobian)[1].item(), abs=1e-9)


def test_a_step_looks_at_what_came_before_only() -> None:
    step = shaken_flow(6).steps[0]
    context = torch.zeros(1, 2, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(
        lambda point: step(point[None], context)[0][0], torch.randn(6, dtype=torch.float64)
    )
    assert torch.equal(jacobian, jacobian.tril())
    assert (jacobian.tril(-1).abs().sum(1)[1:] > 0).all()


def test_the_density_integrates_to_one_and_depends_on_the_section() -> None:
    flow = shaken_flow(2)
    axis = torch.linspace(-15, 15, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    masses = []
    for section in torch.eye(2, dtype=torch.float64):
        with torch.no_grad():
            density = flow.log_density(grid, section.expand(len(grid), 2)).exp()
        masses.append(density)
        assert density.sum().item() * (axis[1] - axis[0]).item() ** 2 == pytest.approx(1, abs=1e-3)
    assert (masses[0] - masses[1]).abs().max() > 1e-3


def test_a_new_flow_is_a_standard_normal() -> None:
    flow = AutoregressiveFlow(4, 1, steps=3, hidden=8)
    x = torch.randn(10, 4)
    expected = -0.5 * x.square().sum(1) - 2 * math.log(2 * math.pi)
    torch.testing.assert_close(flow.log_density(x, torch.ones(10, 1)), expected)


# --- Densities ---


def normal_clips(n: int) -> list[Clip]:
    return [Clip(Path(f"{i}.wav"), "pump", "00", "source", "train", "normal") for i in range(n)]


def test_neighbours_are_those_that_a_search_of_all_finds(rng: np.random.Generator) -> None:
    x = (rng.normal(size=(20, 5)) * [1, 2, 3, 4, 0.1]).astype(np.float32)
    rows = rng.normal(size=(7, 5)).astype(np.float32)
    scores = NearestNeighbour(preset=STREAMING).fit(normal_clips(20), x, 0)(rows)
    scaled = [[math.dist(row / x.std(0), one / x.std(0)) for one in x] for row in rows]
    for k, row in itertools.product((1, 2, 3), range(7)):
        assert scores[f"k{k}"][row] == pytest.approx(np.mean(sorted(scaled[row])[:k]), rel=1e-4)


def test_one_component_is_a_gaussian_of_the_whitened_space(rng: np.random.Generator) -> None:
    x = (rng.normal(size=(60, 6)) @ rng.normal(size=(6, 6))).astype(np.float32)
    rows = (2 * rng.normal(size=(30, 6)) @ rng.normal(size=(6, 6))).astype(np.float32)
    clips = normal_clips(60)
    scores = GaussianMixture(preset=STREAMING, components=1, least_variance=0.1).fit(clips, x, 0)(rows)["nll"]
    whitening = fit_whitening(x, [clip.domain for clip in clips])
    cloud, whitened = x @ whitening, rows @ whitening
    variance = cloud.var(0) + 0.1
    by_hand = 0.5 * (np.square(whitened - cloud.mean(0)) / variance + np.log(2 * np.pi * variance)).sum(1)
    np.testing.assert_allclose(scores, by_hand, rtol=1e-4)


def test_two_clouds_are_two_components(rng: np.random.Generator) -> None:
    """Between two clouds nothing is normal, which one Gaussian cannot know."""
    clouds = np.concatenate([rng.normal(-10, 1, (40, 3)), rng.normal(10, 1, (40, 3))]).astype(np.float32)
    middle = np.zeros((1, 3), np.float32)
    one, two = (GaussianMixture(preset=STREAMING, components=n).fit(normal_clips(80), clouds, 0) for n in (1, 2))
    assert one(middle)["nll"][0] < np.quantile(one(clouds)["nll"], 0.1)
    assert two(middle)["nll"][0] > np.quantile(two(clouds)["nll"], 0.9)


# --- Ensemble ---


@dataclass(frozen=True)
class Told(Peer):
    """Scores as it was told to, by the number of the clip."""

    about: ClassVar[str] = "told"
    default_score: ClassVar[str] = "told"
    name: str = "told"
    normal: tuple[float, ...] = ()
    unknown: tuple[float, ...] = ()

    def compute(self, train: Sequence[Clip], test: Sequence[Clip], **_: object) -> PeerScores:
        of = [
            {clip.path: {"told": value} for clip, value in zip(clips, values, strict=False)}
            for clips, values in ((test, self.unknown), (train, self.normal))
        ]
        return PeerScores(of[0], of[1])


def test_members_are_averaged_in_deviations_of_normal_clips(factory: Factory, tmp_path: Path) -> None:
    train = [clip for clip in factory.train if clip.name == "fan/00"][:4]
    test = [replace(clip) for clip in factory.test if clip.name == "fan/00"][:2]
    members = (
        Told("large", normal=(100, 200, 100, 200), unknown=(250, 150)),  # mean 150, deviation 50
        Told("small", normal=(0, 2, 0, 2), unknown=(5, 1)),  # mean 1, deviation 1
        Told("silent"),
    )
    system = Ensemble(members=members).fit_and_score(train, test, seed=0, folder=tmp_path / "ensemble-seed0")
    assert [scored.scores["mean"] for scored in system.scored] == pytest.approx([(2 + 4) / 2, 0])


def test_epochs_reach_every_network_of_an_ensemble() -> None:
    def epochs(peer: Peer) -> int:
        return peer.recipe.epochs if isinstance(peer, SubclusterAdacos) else peer.epochs  # type: ignore[attr-defined]

    tried = Ensemble().with_epochs(3)
    assert isinstance(tried, Ensemble)
    assert [epochs(member) for member in tried.members] == [3, 3, 3]
    assert Bands().with_epochs(3) == Bands()

"""The losses against sums made by hand, and against torch's own where it has one."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch: the train extra is not installed")

from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402

from trainer.loss import Centres, joint_loss, mixup, softmax_loss  # noqa: E402

EMBEDDING = torch.tensor([[1.0, 2.0], [3.0, 2.0], [0.0, -4.0]])
ONE_HOT = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@pytest.fixture
def centres() -> Centres:
    return Centres(3, 2, decay=0.75)


# --- Eq. 1 ---


def test_softmax_loss_of_a_sure_and_an_unsure_clip() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0], [100.0, 0.0, 0.0]])
    assert softmax_loss(logits, ONE_HOT[:2]).item() == pytest.approx(math.log(3) / 2)


def test_softmax_loss_is_the_cross_entropy_of_torch() -> None:
    torch.manual_seed(0)
    logits, labels, others = torch.randn(8, 3), torch.arange(8) % 3, torch.arange(8) % 2
    one_hot, other = functional.one_hot(labels, 3).float(), functional.one_hot(others, 3).float()
    torch.testing.assert_close(softmax_loss(logits, one_hot), functional.cross_entropy(logits, labels))
    mixed = 0.7 * functional.cross_entropy(logits, labels) + 0.3 * functional.cross_entropy(logits, others)
    torch.testing.assert_close(softmax_loss(logits, 0.7 * one_hot + 0.3 * other), mixed)


# --- Eq. 2 ---


def test_the_first_batch_makes_the_centres(centres: Centres) -> None:
    # Class 0 at (2, 2), a distance of 1 from both its clips; class 1 at its only clip.
    loss = centres(EMBEDDING, ONE_HOT)
    assert loss.item() == pytest.approx(0.5 * (1 + 1 + 0) / 3)
    assert centres.points.tolist() == [[2, 2], [0, -4], [0, 0]]
    assert centres.known.tolist() == [True, True, False]


def test_later_batches_measure_from_them_and_then_move_them(centres: Centres) -> None:
    centres(EMBEDDING, ONE_HOT)
    loss = centres(torch.tensor([[6.0, 2.0]]), ONE_HOT[:1])
    assert loss.item() == pytest.approx(0.5 * 16)
    assert centres.points.tolist() == [[3, 2], [0, -4], [0, 0]]  # a quarter of the way; the others stay


def test_a_class_that_comes_later_begins_where_it_is(centres: Centres) -> None:
    centres(EMBEDDING, ONE_HOT)
    assert centres(torch.tensor([[5.0, 5.0]]), torch.tensor([[0.0, 0.0, 1.0]])).item() == 0
    assert centres.points[2].tolist() == [5, 5]


def test_mixed_labels_pull_to_both_centres_and_move_both(centres: Centres) -> None:
    centres(EMBEDDING, ONE_HOT)
    targets = torch.tensor([[0.75, 0.25, 0.0]])
    loss = centres(torch.tensor([[2.0, 0.0]]), targets)
    assert loss.item() == pytest.approx(0.5 * (0.75 * 4 + 0.25 * (4 + 16)))
    assert centres.points[:2].tolist() == [[2, 1.5], [0.5, -3]]


def test_the_pull_is_towards_the_centre_and_leaves_the_centre_alone(centres: Centres) -> None:
    centres(EMBEDDING, ONE_HOT)
    embedding = torch.tensor([[6.0, 3.0], [2.0, 2.0]], requires_grad=True)
    centres(embedding, ONE_HOT[:2]).backward()
    assert embedding.grad is not None
    assert embedding.grad.tolist() == [[2.0, 0.5], [0.0, 0.0]]  # (x - c) / m
    assert not centres.points.requires_grad
    assert list(centres.parameters()) == []


def test_evaluation_moves_nothing(centres: Centres) -> None:
    centres(EMBEDDING, ONE_HOT)
    before = centres.points.clone()
    assert centres.eval()(EMBEDDING + 1, ONE_HOT).item() > 0
    assert torch.equal(centres.points, before)


def test_the_checkpoint_carries_the_centres(centres: Centres) -> None:
    centres(EMBEDDING, ONE_HOT)
    again = Centres(3, 2, decay=0.75)
    again.load_state_dict(centres.state_dict())
    assert again(EMBEDDING, ONE_HOT).item() == centres(EMBEDDING, ONE_HOT).item()


# --- Eq. 3 ---


def test_the_joint_loss_is_the_weighted_sum_of_means(centres: Centres) -> None:
    logits = torch.zeros(3, 3)
    loss = joint_loss(EMBEDDING, logits, ONE_HOT, centres, 0.3)
    assert loss.joint.item() == pytest.approx(loss.softmax.item() + 0.3 * loss.centre.item())
    twice = joint_loss(
        EMBEDDING.repeat(2, 1), logits.repeat(2, 1), ONE_HOT.repeat(2, 1), Centres(3, 2, decay=0.75), 0.3
    )
    assert twice.joint.item() == pytest.approx(loss.joint.item())  # whatever the size of the batch


def test_without_a_weight_the_centre_loss_is_measured_and_teaches_nothing(centres: Centres) -> None:
    embedding = EMBEDDING.clone().requires_grad_()
    loss = joint_loss(embedding, embedding @ torch.ones(2, 3), ONE_HOT, centres, 0.0)
    assert loss.centre.item() > 0
    assert not loss.centre.requires_grad
    assert loss.joint is loss.softmax


def test_both_are_float32_whatever_the_network_computes_in(centres: Centres) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        loss = joint_loss(EMBEDDING.bfloat16(), torch.randn(3, 3).bfloat16(), ONE_HOT, centres, 0.3)
    assert {term.dtype for term in (loss.joint, loss.softmax, loss.centre)} == {torch.float32}
    assert centres.points.dtype == torch.float32
    torch.testing.assert_close(centres.points[0], torch.tensor([2.0, 2.0]))


# --- Eq. 6 ---


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Eight clips whose every value is the number of the clip, and whose label is too."""
    labels = torch.arange(8)
    return labels[:, None, None, None].float().expand(8, 1, 2, 3).contiguous(), labels


def test_no_alpha_no_mixing(batch: tuple[Tensor, Tensor]) -> None:
    features, targets = mixup(*batch, 8, alpha=0.0, mixed_labels=True)
    assert features is batch[0]
    assert torch.equal(targets, torch.eye(8))


def test_the_label_that_is_kept_is_of_the_louder_clip(batch: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    features, targets = mixup(*batch, 8, alpha=0.5, mixed_labels=False)
    assert torch.equal(targets, torch.eye(8))
    assert not torch.equal(features, batch[0])
    torch.manual_seed(0)
    assert torch.equal(mixup(*batch, 8, alpha=0.5, mixed_labels=True)[0], features)


def test_mixed_labels_are_the_shares_of_the_sound(batch: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    features, targets = mixup(*batch, 8, alpha=0.5, mixed_labels=True)
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
    assert bool((targets.diagonal() >= 0.5).all())
    assert bool((targets.diagonal() < 1).any())
    # As clips and labels are the same numbers, a mixed clip is the mean of its label.
    torch.testing.assert_close(features[:, 0, 0, 0], targets @ torch.arange(8.0))

"""The sub-cluster AdaCos classifier: logits, scale, and that it learns."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch: the train extra is not installed")

from trainer.adacos import SubclusterAdacos  # noqa: E402
from trainer.loss import softmax_loss  # noqa: E402


def two_classes() -> SubclusterAdacos:
    """Two classes in the plane, two directions each: east and north, west and south; scale 2."""
    classifier = SubclusterAdacos(2, 2, 2)
    with torch.no_grad():
        classifier.directions.copy_(torch.tensor([[1.0, 0], [0, 3], [-2, 0], [0, -1]]))
        classifier.scale.fill_(2.0)
    return classifier


def test_a_logit_sums_over_the_directions_of_its_class() -> None:
    """Due east: cosines 1, 0 for its own class and -1, 0 for the other, whatever the lengths."""
    columns = torch.tensor([[5.0, 0.0], [0.0, 1.0]]).T[None, :, None]  # east, then north
    logits = two_classes()(columns)
    assert logits.shape == (1, 2, 1, 2)
    near, far = math.log(math.exp(2) + 1), math.log(math.exp(-2) + 1)
    torch.testing.assert_close(logits[0, :, 0], torch.tensor([[near, near], [far, far]]))


def test_half_precision_stops_before_it() -> None:
    embedding = torch.randn(3, 2, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        logits = two_classes()(embedding)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, two_classes()(embedding))


def test_the_scale_adapts_to_the_median_angle() -> None:
    """Two samples, 30 and 0 degrees from their own: B over the other class's directions, the lower median of angles."""
    classifier = two_classes()
    tilted = math.radians(30)
    classifier.adapt(torch.tensor([[math.cos(tilted), math.sin(tilted)], [0.0, -1.0]]), torch.eye(2))
    foreign = [-math.cos(tilted), -math.sin(tilted), 0.0, -1.0]
    b = sum(math.exp(2 * cosine) for cosine in foreign) / 2
    assert classifier.scale.item() == pytest.approx(max(0.5, math.log(b) / math.cos(0)), rel=1e-4)


def test_classes_of_two_directions_each_are_learned() -> None:
    """Opposite directions belong to one class: no single centre a class could tell these two apart."""
    torch.manual_seed(0)
    angles = torch.tensor([0.0, math.pi, math.pi / 2, -math.pi / 2]).repeat(16)
    labels = torch.tensor([0, 0, 1, 1]).repeat(16)
    targets = torch.nn.functional.one_hot(labels, 2).float()
    samples = torch.stack([angles.cos(), angles.sin()], 1)
    classifier = SubclusterAdacos(2, 2, 4)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=0.05)
    for _ in range(200):
        loss = softmax_loss(classifier(samples[:, :, None, None])[..., 0, 0], targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        classifier.adapt(samples, targets)
    assert math.isfinite(classifier.scale.item())
    assert (classifier(samples[:4, :, None, None])[..., 0, 0].argmax(1) == labels[:4]).all()

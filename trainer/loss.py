"""What a batch teaches: the paper's Eqs. 1 to 3, and mixup (Eq. 6).

y_ij, "the one-hot encoding of the label", is a matrix of targets (N, k) whose rows sum to 1: one-hot without mixup and
where labels are kept, two shares where they are mixed too. Both losses read the same matrix, so a mixed clip is pulled
towards the centre of the label it kept, or towards both centres by their shares.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.distributed import total


def mixup(
    features: Tensor, labels: Tensor, n_classes: int, *, alpha: float, mixed_labels: bool
) -> tuple[Tensor, Tensor]:
    """Return eta * x_i + (1 - eta) * x_j (Eq. 6), in dB, and what it is to be taken for: targets (N, k).

    features (N, 1, M, F), labels (N,). x_j is "the random sample of this mini-batch"; the paper does not say how eta is
    drawn: here max(b, 1 - b) of b ~ Beta(alpha, alpha), so that x_i, "the original sample", is the louder of the two.
    mixed_labels: eta of the label of x_i and the rest of that of x_j (Zhang et al., 2018), else all of x_i, as Eq. 6
    has it. alpha 0 mixes nothing.
    """
    targets = F.one_hot(labels, n_classes).float()
    if not alpha:
        return features, targets
    drawn = torch.distributions.Beta(alpha, alpha).sample((len(labels),)).to(features.device)
    share = torch.maximum(drawn, 1 - drawn)
    other = torch.randperm(len(labels), device=features.device)
    if mixed_labels:
        targets = share[:, None] * targets + (1 - share[:, None]) * targets[other]
    weight = share[:, None, None, None]
    return weight * features + (1 - weight) * features[other], targets


class Centres(nn.Module):
    """The centre loss (Eq. 2) and the class centres that it measures from.

    "We first initialize a class center for each class, and then continuously update the class center": the first is
    the mean of the class in the batch that first holds it, and each later batch moves it by an exponential average.
    The centres are buffers: no gradient reaches them, and the checkpoint carries them.
    """

    points: Tensor
    known: Tensor

    def __init__(self, n_classes: int, dim: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("points", torch.zeros(n_classes, dim))
        self.register_buffer("known", torch.zeros(n_classes, dtype=torch.bool))

    def forward(self, embedding: Tensor, targets: Tensor) -> Tensor:
        """Return half the mean squared distance to the centres, and then move the centres (in training mode).

        embedding (N, D), targets (N, k). A centre moves by `1 - decay` of the way to the mean, weighted by the targets,
        of its class in this batch, over all processes.
        """
        embedding, targets = embedding.float(), targets.float()
        with torch.no_grad():
            weight = total(targets.sum(0))[:, None]
            means = total(targets.T @ embedding) / weight.clamp_min(1e-12)
            points = torch.where(self.known[:, None], self.points, means)
            if self.training:
                self.points.copy_(torch.where(weight > 0, torch.lerp(means, points, self.decay), points))
                self.known |= weight[:, 0] > 0
        squared = (embedding[:, None] - points).square().sum(2)
        return 0.5 * (targets * squared).sum(1).mean()


@dataclass(frozen=True)
class Loss:
    """The terms of one batch, each a scalar, float32."""

    softmax: Tensor
    centre: Tensor
    joint: Tensor


def joint_loss(embedding: Tensor, logits: Tensor, targets: Tensor, centres: Centres, centre_weight: float) -> Loss:
    """Return softmax + centre_weight * centre loss, in float32 whatever the network computes in.

    embedding (N, D), logits (N, k), targets (N, k). The paper's Eq. 3 weighs the other term, lambda * L_S + L_C, and
    sums over the mini-batch. Adam does not see a common factor of both terms, so what counts is their ratio:
    `centre_weight` is 1 / lambda, and means over the batch keep it true for batches of any size. Without a weight the
    centre loss is measured but teaches nothing.
    """
    softmax = softmax_loss(logits, targets)
    if not centre_weight:
        return Loss(softmax, centres(embedding.detach(), targets), softmax)
    centre = centres(embedding, targets)
    return Loss(softmax, centre, softmax + centre_weight * centre)


def softmax_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over the batch of -sum_j y_ij log softmax(logits_i)_j (Eq. 1), float32."""
    return -(targets.float() * F.log_softmax(logits.float(), 1)).sum(1).mean()

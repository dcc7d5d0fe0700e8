"""The sub-cluster AdaCos classifier: every class is several directions on the sphere of embeddings.

K. Wilkinghoff, "Sub-cluster AdaCos: learning representations for anomalous sound detection", IJCNN 2021, and the
paper's [9], its entry to DCASE 2021.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer import distributed


class SubclusterAdacos(nn.Module):
    """Logits from the cosines to `subclusters` directions a class, with a scale that adapts itself.

    The probability of a class is the sum over its directions, which are learned: a logit is the logsumexp of its scaled
    cosines. The scale is that of AdaCos (X. Zhang et al., CVPR 2019): log B / cos(min(45 degrees, angle)), where B is
    the batch's mean of exp(scale * cosine), summed over the directions of other classes, and angle the median between a
    sample and the nearest direction of its own. As published for mixed labels, B sums over all directions, and the
    scale runs away where a few samples of a small batch lie better than the median.
    """

    scale: Tensor

    def __init__(self, n_dims: int, n_classes: int, subclusters: int) -> None:
        super().__init__()
        self.subclusters = subclusters
        n_directions = n_classes * subclusters
        self.directions = nn.Parameter(unit(torch.randn(n_directions, n_dims)))
        self.register_buffer("scale", torch.tensor(max(0.5, math.sqrt(2) * math.log(max(2, n_directions) - 1))))

    def forward(self, embedding: Tensor) -> Tensor:
        """(N, D, 1, m) -> logits (N, k, 1, m), in float32 whatever the network computes in."""
        with torch.autocast(embedding.device.type, enabled=False):
            logits: Tensor = (self.scale * self._cosines(embedding)).logsumexp(2)
            return logits

    @torch.no_grad()
    def adapt(self, embedding: Tensor, targets: Tensor) -> None:
        """Move the scale, for the next batch, to where this one wants it: embedding (N, D), targets (N, k)."""
        cosines = self._cosines(embedding[:, :, None, None])[..., 0, 0]
        nearest = cosines.amax(2).clamp(-1, 1).acos()
        angle = (targets * nearest).sum(1).median().clamp(max=math.pi / 4)
        log_mean = (self.scale * cosines)[targets == 0].logsumexp((0, 1)) - math.log(len(cosines))
        wanted = (log_mean / angle.cos()).clamp(min=0.5)
        self.scale.copy_(distributed.total(wanted) / distributed.world_size())

    def _cosines(self, embedding: Tensor) -> Tensor:
        """(N, D, 1, m) -> (N, k, subclusters, 1, m)."""
        cosines = F.conv2d(unit(embedding.float()), unit(self.directions)[:, :, None, None])
        return cosines.reshape(len(cosines), -1, self.subclusters, *cosines.shape[2:])


def unit(x: Tensor) -> Tensor:
    """(N, D, ...) -> the same vectors with a length of one along D."""
    lengths: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / lengths.clamp_min(1e-12)

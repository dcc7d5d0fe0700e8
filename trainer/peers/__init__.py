"""The peers: what else the field would use, on the same clips and in the same table (docs/peers.md).

Plain, small implementations of ours. Each is fitted on normal training clips alone and never sees a test label.
"""

from collections.abc import Mapping
from typing import Final

from trainer.peers.autoencoder import Autoencoder
from trainer.peers.bands import Bands
from trainer.peers.density import GaussianMixture, NearestNeighbour
from trainer.peers.ensemble import Ensemble
from trainer.peers.flow import Flow
from trainer.peers.mobilenetv2 import MobileNetV2
from trainer.peers.peer import Peer, folder_of
from trainer.peers.preset import Preset
from trainer.peers.subcluster_adacos import SubclusterAdacos

__all__ = ["PEERS", "Peer", "folder_of"]

_ALL: Final[tuple[Peer, ...]] = (
    Autoencoder(),
    MobileNetV2(),
    Bands(),
    Flow(),
    SubclusterAdacos(),
    NearestNeighbour(),
    GaussianMixture(),
    Ensemble(),
    Preset("paper"),
    Preset("streaming"),
)

PEERS: Final[Mapping[str, Peer]] = {peer.name: peer for peer in _ALL}
"""Every peer by its name. Those of one seed share what they can, where `folder_of` one root names their folders."""

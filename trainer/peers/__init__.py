"""The peers: what else the field would use, on the same clips and in the same table (docs/peers.md).

Plain, small implementations of ours. Each is fitted on normal training clips alone and never sees a test label.
"""

from collections.abc import Mapping

from trainer.exporting import Export
from trainer.peers.autoencoder import Autoencoder
from trainer.peers.bands import Bands
from trainer.peers.density import GaussianMixture, NearestNeighbour
from trainer.peers.ensemble import Ensemble
from trainer.peers.flow import Flow
from trainer.peers.mobilenetv2 import MobileNetV2
from trainer.peers.peer import Peer, folder_of
from trainer.peers.preset import Preset
from trainer.peers.subcluster_adacos import SubclusterAdacos

__all__ = ["Peer", "all_peers", "folder_of"]


def all_peers(export: Export) -> Mapping[str, Peer]:
    """Return every peer by its name, in the order of the table.

    Those of one seed share what they can, where `folder_of` one root names their folders.
    """
    streaming = Preset("streaming", export=export)
    peers: tuple[Peer, ...] = (
        Autoencoder(),
        MobileNetV2(),
        Bands(),
        Flow(),
        SubclusterAdacos(),
        NearestNeighbour(preset=streaming),
        GaussianMixture(preset=streaming),
        Ensemble(),
        Preset("paper", export=export),
        streaming,
    )
    return {peer.name: peer for peer in peers}

"""How a daemon is, for whoever asks: the health message, Prometheus, the service manager, the page."""

import platform
import time
from collections.abc import Sequence

import onnxruntime

from edge import __version__, clock
from edge.daemon import payloads
from edge.daemon.listener import Listener
from edge.daemon.payloads import Record
from edge.daemon.shared import Shared
from edge.voice import Snapshot, metrics


class Wellbeing:
    """Asks all that is at work. May be called from any thread."""

    def __init__(self, node: str, shared: Shared, listeners: Sequence[Listener]) -> None:
        self._node = node
        self._shared = shared
        self._listeners = listeners
        self._started = time.monotonic()

    def health(self) -> Record:
        """Return how the device is (schemas/health.json)."""
        clips, notifier = self._shared.clips, self._shared.notifier
        return payloads.health_of(
            self._node,
            unix_seconds=time.time(),
            uptime_seconds=time.monotonic() - self._started,
            clock_synced=clock.synced(),
            sources={each.name: each.standing for each in self._listeners},
            commanded={each.name: each.commanded for each in self._listeners},
            epoch=clock.utc(0.0),
            judging={each.name: each.judging for each in self._listeners},
            defects={each.name: each.defect for each in self._listeners if each.defect},
            drift=self._shared.trends.now,
            mqtt=self._shared.publisher.figures,
            notify=notifier.figures if notifier else None,
            clips={
                "state": clips.state if clips else "off",
                "bytes": clips.clips_bytes if clips else 0,
                "lost": clips.lost_clips if clips else 0,
            },
        )

    def snapshot(self) -> Snapshot:
        """Return what Prometheus is told."""
        publisher, clips = self._shared.publisher, self._shared.clips
        figures = publisher.figures
        return Snapshot(
            build={
                "version": __version__,
                "python": platform.python_version(),
                "onnxruntime": onnxruntime.__version__,
            },
            sources=tuple(listener.snapshot() for listener in self._listeners),
            mqtt_connected=publisher.connected,
            outbox_messages=figures["queued"],
            outbox_dropped=figures["dropped"],
            dead_letters=figures["dead_letter_causes"],
            arrived=figures["dead_letters_arrived"],
            left_out=len(figures["left_out"]),
            links_renewed=figures["links_renewed"],
            commands_on=figures["commands"] == "on",
            largest_shelve_seconds=60 * figures["largest_shelve_minutes"],
            clips_bytes=clips.clips_bytes if clips else 0,
            written_bytes=metrics.written_bytes(),
        )

    @property
    def broker(self) -> Record:
        """Whether there is a connection to the broker, and why not."""
        return {"connected": self._shared.publisher.connected, "reason": self._shared.publisher.reason}

    @property
    def status(self) -> str:
        """All of it in one line, for who asks the service manager."""
        publisher = self._shared.publisher
        broker = "broker connected" if publisher.connected else f"no broker ({publisher.reason})"
        return "; ".join([*(f"{each.name}: {each.standing}" for each in self._listeners), broker])

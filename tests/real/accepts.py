"""Run by Home Assistant's own Python: what of an announcement on standard input its own code would refuse.

    <home-assistant>/bin/python tests/real/accepts.py < payload.json

Prints a reason a line, and ends with 1 if there is one. Each component is judged by the schema of its platform, merged
with what the device says for all, as its discovery does it.
"""

import asyncio
import importlib
import logging
import sys
import tempfile
from typing import Any

import voluptuous
from homeassistant.components.mqtt import discovery
from homeassistant.const import __version__
from homeassistant.core import HomeAssistant
from homeassistant.helpers import frame


class Complaints(logging.Handler):
    """What its discovery says about a payload, as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


async def refusals(payload: str) -> list[str]:
    """Return the reasons; [] for a payload that is taken."""
    frame.async_setup(HomeAssistant(tempfile.gettempdir()))  # templates are judged against an instance
    complaints = Complaints()
    logging.getLogger("homeassistant.components.mqtt").addHandler(complaints)
    device = discovery._parse_device_payload(None, payload, "earshot", None)
    for name, config in device.get("components", {}).items():
        if set(config) == {"platform"}:
            continue  # to be removed
        try:
            _judge(device, discovery.MQTTDiscoveryPayload(config))
        except voluptuous.Invalid as error:
            complaints.lines.append(f"{name}: {error}")
    return complaints.lines


def _judge(device: dict[str, Any], component: dict[str, Any]) -> None:
    platform = component.pop("platform")
    discovery._merge_common_device_options(component, device)
    component |= {shared: device[shared] for shared in ("device", "origin")}
    importlib.import_module(f"homeassistant.components.mqtt.{platform}").DISCOVERY_SCHEMA(dict(component))


if __name__ == "__main__":
    found = asyncio.run(refusals(sys.stdin.read()))
    print("\n".join([f"Home Assistant {__version__}", *found]))
    sys.exit(bool(found))

"""What a person sends to who helps: how the device is and how it is set up, without sound and without secrets."""

import io
import json
import platform
import sys
import zipfile
from importlib import metadata
from typing import Any, Final

from edge import __version__
from edge.page.desk import Desk

SECRET_KEYS: Final = {"username", "password_file", "certificate_file", "key_file", "ca_file", "client_id", "url"}
"""Passwords stand in no configuration. Who we are to the broker, and where keys lie, is nobody's business either; the
address of a webhook (notify.url) is as good as a password."""

PACKAGES: Final = ("numpy", "onnxruntime", "paho-mqtt", "sounddevice", "soundfile", "soxr", "starlette", "uvicorn")


def bundle(desk: Desk) -> bytes:
    """Return a ZIP of a few kilobytes."""
    device = desk.device
    contents = {
        "versions.json": _versions(),
        "health.json": device.health(),
        "config.json": without_secrets(device.configuration()),
        "page.json": desk.choices.now.model_dump(mode="json"),
        "detectors.json": dict(device.cards()),
        "episodes.json": desk.episodes.newest(sys.maxsize),
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(f"earshot/{name}", json.dumps(content, indent=1, default=str))
        archive.writestr("earshot/log.txt", desk.lines.as_text())
    return file.getvalue()


def without_secrets(value: Any, key: str = "") -> Any:  # noqa: ANN401  plain values of any depth
    """Return plain values with what stands under a secret key taken out."""
    if key in SECRET_KEYS and value is not None:
        return "(left out)"
    if isinstance(value, dict):
        return {name: without_secrets(each, name) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(each) for each in value]
    return value


def _versions() -> dict[str, str]:
    found = {"earshot": __version__, "python": platform.python_version(), "system": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found

"""Nothing leaves a device but over MQTT: the runtime's own reports to its maker are off before it is loaded."""

import subprocess
import sys

CODE = """
import os
os.environ.pop("ORT_DISABLE_TELEMETRY", None)
import edge.ear.model
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


def test_the_runtime_is_told_not_to_report() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"

"""The service in its sandbox, under a real systemd, on a sound card of a real kernel that comes and goes.

It takes a virtual machine (tests/real/vm.py), which is slow to make, so nobody is made to wait for it unasked:

    sudo EARSHOT_VM_DIR=DIR python -m pytest -s tests/real/test_service_card.py    DIR is made, once, if it is not there
"""

import os
from pathlib import Path
from typing import Final

import pytest

from tests.real.vm import CARDS, build, missing, run_under_systemd

ROOT: Final = Path(__file__).parents[2]
VM_DIR: Final = os.environ.get("EARSHOT_VM_DIR")

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(VM_DIR is None, reason="a virtual machine with sound cards: set EARSHOT_VM_DIR"),
]

# The machine has no sound driver at all when the service starts, as one whose only card is on USB.
SCRIPT: Final = f"""
wait_for() {{
  end=$(($(cut -d. -f1 /proc/uptime) + 120))
  while [ "$(cut -d. -f1 /proc/uptime)" -lt $end ]; do
    eval "$2" && echo "seen: $1, $(cut -d' ' -f1 /proc/uptime) s after the boot" && return
    sleep 0.2
  done
  echo "never: $1"; systemctl status earshot; journalctl -o cat --no-pager -u earshot | tail -n 40
  exit 1
}}
topic() {{ mosquitto_sub -t "earshot/+/$1" -C 1 -W 5; }}
state() {{ topic pump/state | grep -q "\\"status\\": *\\"$1\\""; }}
starts() {{ systemctl show --value --property=NRestarts earshot; }}

set -e
mkdir /etc/earshot
cat > /etc/earshot/config.yaml <<END
sources: [{{name: pump, type: microphone, device: "card:Loopback", detector: /opt/earshot/demo/detector}}]
mqtt: {{host: localhost, state_seconds: 0.5}}
END
export PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels PIP_NO_COMPILE=1
/source/systemd/install /wheels/earshot-*.whl
set +e
[ ! -e /proc/asound ] || exit 2
systemctl start earshot
wait_for "ready without a card" '[ "$(systemctl is-active earshot)" = active ]'
wait_for "lost without a card" 'state lost'
{CARDS}
wait_for "the card that came" '[ "$(topic pump/availability)" = online ]'
/opt/earshot/bin/python -c "
import soundfile
samples, rate = soundfile.read('$(ls /opt/earshot/demo/recordings/*.flac)', dtype='int16')
soundfile.write('/tmp/pump.wav', samples, rate)"
aplay -q -D plughw:Loopback,1 /tmp/pump.wav &
player=$!
wait_for "scores" 'state listening'
kill $player
echo snd_aloop.0 > /sys/bus/platform/drivers/snd_aloop/unbind & # it returns once nobody has the card open
wait_for "pulled out" 'state lost'
wait $!
echo snd_aloop.0 > /sys/bus/platform/drivers/snd_aloop/bind
wait_for "put back" '[ "$(topic pump/availability)" = online ]'
echo "memory: $(systemctl show --property=MemoryCurrent,MemoryMax earshot | tr '\\n' ' ')"
echo "restarts: $(starts)"
systemctl stop earshot
echo "left: $(topic status), $(systemctl show --value --property=Result earshot)"
journalctl -o cat --no-pager -u earshot
/opt/earshot/uninstall --purge
"""


def test_in_its_sandbox_it_hears_a_card_that_came_after_it(wheels: Path) -> None:
    if why := missing():
        pytest.fail(why)
    folder = Path(str(VM_DIR)).absolute()
    if not folder.is_dir():
        build(folder)
    shown = {ROOT / "systemd": "/source/systemd", wheels: "/wheels"}
    code, said = run_under_systemd(folder, SCRIPT, shown)
    assert code == 0, said
    assert "restarts: 0" in said
    assert "left: offline, success" in said
    assert "48000 Hz" in said

"""Does the broker let us in? Beside the daemon, under another client id; and if not, why, by what it answers."""

from typing import Final

from paho.mqtt.reasoncodes import ReasonCode

from edge.commands.check_call import Call, greeted
from edge.commands.check_reach import speaks_tls
from edge.commands.steps import Trouble
from edge.config import CREDENTIAL, MqttSettings, machine_name
from edge.errors import EarshotError
from edge.voice import Broker, Dialect, password_in, version_name

# Reason codes of a CONNACK (3.1.1 has five of them): what a person can do about it.
_HINTS: Final = {
    0x85: "mqtt.client_id: this broker does not take {client_id}; some take letters and digits only, up to 23",
    0x88: "the broker is starting, or has lost what stands behind it: its own log says more",
    0x89: "the broker has more clients than it wants; it may take us later",
    0x8A: "the broker has banned this device: its own log says why",
    0x8C: "the broker wants another way to log in than a name and a password",
    0x95: "our greeting is too large for the broker: a shorter mqtt.client_id, name or password",
    0x97: "the broker counts what we may, and it is used up",
    0x9A: "the broker remembers nothing: mqtt.retain: false",
    0x9D: "the broker has moved: mqtt.host",
    0x9F: "the broker wants fewer connections a minute; it takes us later",
}


class Greeting:
    """A way in that is not the daemon's. `call` is what came of it."""

    def __init__(self, mqtt: MqttSettings, host: str) -> None:
        self._mqtt = mqtt
        self._host = host
        self.client_id = f"{mqtt.client_id or machine_name()}-check"[:64]
        self.dialect = Dialect(mqtt)
        self.call: Call | None = None

    def greet(self) -> str:
        """Return as whom we are let in. Raises Trouble."""
        mqtt = self._mqtt
        self._check_password()
        self.call = call = greeted(Broker(mqtt, client_id=self.client_id), self.dialect)
        if call.answer is None:
            raise self._no_answer(call)
        if call.answer.is_failure:
            raise self._refused(call.answer)
        who = f"as {mqtt.username}" if mqtt.username else "as nobody in particular"
        limit = "" if call.terms.most_bytes is None else f", packets of up to {call.terms.most_bytes} bytes"
        return f"let in {who}, MQTT {version_name(call.version)}{limit}"

    def close(self) -> None:
        if self.call is not None:
            self.call.close()

    def _check_password(self) -> None:
        file = self._mqtt.password_file
        if file is None or self._mqtt.username is None:
            return
        try:
            password_in(file)
        except EarshotError as error:
            if not str(file).startswith(CREDENTIAL):
                raise
            raise Trouble(
                str(error), "outside of the service: `sudo env CREDENTIALS_DIRECTORY=/etc/earshot earshot check ...`"
            ) from error

    def _no_answer(self, call: Call) -> Trouble:
        port = self._mqtt.broker_port
        found = f"{self._host}:{port} took the connection and did not answer our greeting"
        if self._mqtt.tls.enabled:
            return Trouble(
                found,
                "does it ask for a certificate of ours? mqtt.tls.certificate_file and key_file; its own log says more",
            )
        if call.ended is not None and speaks_tls(self._host, port):
            return Trouble(
                f"{found}: this port speaks TLS", "mqtt.tls.enabled: true, or the port for plain MQTT (usually 1883)"
            )
        return Trouble(found, "is it a broker that listens there, and does it speak mqtt.transport? Its log says more")

    def _refused(self, code: ReasonCode) -> Trouble:
        mqtt = self._mqtt
        if code.value in _HINTS:
            hint = _HINTS[code.value].format(client_id=self.client_id)
        elif mqtt.username is None:
            hint = "this broker lets nobody in without a name: mqtt.username and password_file"
        elif mqtt.password_file is None:
            hint = f"mqtt.username {mqtt.username} without a password_file: does the broker know it without a password?"
        else:
            length = len(password_in(mqtt.password_file) or "")
            hint = (
                f"mqtt.username {mqtt.username} and the {length} characters of {mqtt.password_file} do not go together "
                "at this broker"
            )
        return Trouble(f"refused: {code}", hint)

"""What is said to others: MQTT with its outbox, the commands that come back, a phone, Prometheus. It decides nothing.

    publisher    what can be said; behind it `topics`, `message`, and
                 retained     the newest values, said again at every connect
                 outbox       events until they are acknowledged, on disk: `backlog`, `scribe`, `shadow` and below
                 orders       commands that wait for their turn (`control` reads what they mean)
                 herald       what Home Assistant is told, so that it finds us: `discovery`
                 agenda       what of all that is said next
                 connection   the life of it: `broker`, `dialect`, `credentials`, `link` with its `flight`, `backoff`
                 reckoning    what came of it; `blame`: what costs a connection is said no more, or as a `second_try`
    notifier     what a phone is told, by a `webhook`: `worth_telling` chooses, `notice` and `phrases` word it
    dialing      a line to a host by its name, for both
    metrics      the same for Prometheus
    words        and for people

Topics and payloads are in the README and in `edge/schemas/`.
"""

from edge.voice import metrics
from edge.voice.broker import Broker
from edge.voice.control import Acknowledge, Command, CommandError, Shelve, Threshold
from edge.voice.credentials import CERTIFICATE_NOT_YET_VALID, check_credentials, in_words, password_in, tls_context
from edge.voice.dialect import Dialect, Terms, version_name
from edge.voice.dialing import dial
from edge.voice.discovery import announcement_topic
from edge.voice.message import as_json
from edge.voice.metrics import Snapshot, SourceSnapshot, Stopwatch
from edge.voice.notice import of_check
from edge.voice.notifier import Notifier
from edge.voice.outbox import Outbox
from edge.voice.publisher import Publisher
from edge.voice.topics import Topics
from edge.voice.webhook import Webhook
from edge.voice.words import cause_in_words, evidence_in_words, provisional_in_words

__all__ = [
    "CERTIFICATE_NOT_YET_VALID",
    "Acknowledge",
    "Broker",
    "Command",
    "CommandError",
    "Dialect",
    "Notifier",
    "Outbox",
    "Publisher",
    "Shelve",
    "Snapshot",
    "SourceSnapshot",
    "Stopwatch",
    "Terms",
    "Threshold",
    "Topics",
    "Webhook",
    "announcement_topic",
    "as_json",
    "cause_in_words",
    "check_credentials",
    "dial",
    "evidence_in_words",
    "in_words",
    "metrics",
    "of_check",
    "password_in",
    "provisional_in_words",
    "tls_context",
    "version_name",
]

"""What `make run` shows: a pump, its detector, and both ends of MQTT in one process. No device loads it."""

from edge.demo.broker import DemoBroker, free_port
from edge.demo.subscriber import Subscriber

__all__ = ["DemoBroker", "Subscriber", "free_port"]

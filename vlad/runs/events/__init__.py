"""Events: each anomalous image that `vlad watch` finds is told to other machines."""

from vlad.runs.events.command import Command
from vlad.runs.events.courier import Channel, Courier, couriers_of
from vlad.runs.events.mqtt import Mqtt, read_login
from vlad.runs.events.secret import read_secret
from vlad.runs.events.webhook import SECRET, Webhook

__all__ = [
    "SECRET",
    "Channel",
    "Command",
    "Courier",
    "Mqtt",
    "Webhook",
    "couriers_of",
    "read_login",
    "read_secret",
]

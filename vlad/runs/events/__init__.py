"""What `vlad watch` tells other machines: anomalous images, or events in time."""

from vlad.runs.events.command import Command
from vlad.runs.events.courier import Channel, Courier, Post, couriers_of
from vlad.runs.events.event import events_of, told
from vlad.runs.events.mqtt import Mqtt, read_login
from vlad.runs.events.secret import read_secret
from vlad.runs.events.webhook import SECRET, Webhook

__all__ = [
    "SECRET",
    "Channel",
    "Command",
    "Courier",
    "Mqtt",
    "Post",
    "Webhook",
    "couriers_of",
    "events_of",
    "read_login",
    "read_secret",
    "told",
]

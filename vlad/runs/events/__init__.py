"""Events: each anomalous image that `vlad watch` finds is told to other machines."""

from vlad.runs.events.command import Command
from vlad.runs.events.courier import Channel, Courier, couriers_of
from vlad.runs.events.webhook import Webhook, read_secret

__all__ = ["Channel", "Command", "Courier", "Webhook", "couriers_of", "read_secret"]

"""Detectors and adapters in repositories of the model hub, sent with a card."""

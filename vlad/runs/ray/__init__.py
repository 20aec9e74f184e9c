"""Scoring more images than one process can, on Ray."""

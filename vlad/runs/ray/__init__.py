"""Scoring more pictures than one process can, on Ray."""

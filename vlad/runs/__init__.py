"""Scoring into a folder: a list of images, a folder that is watched, many machines."""

"""The routes of the service, by job.

public      the page and what probes ask
score       POST /v1/score
explain     POST /v1/explain
detectors   /v1/detectors, and the metrics
service     what the routes share
uploads     images and fields of a request
raw         a body that is an image
refusals    what a route refuses, and how errors become replies
"""

"""The verbs of the command line, one module each; importing them loads only click."""

"""The verbs of the command line, one module each; at import they load nothing but click."""

"""`python -m vlad`."""

from vlad.cli import main

main(prog_name="vlad")

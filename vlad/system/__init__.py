"""Files, foreign text, locks, progress, signals and the machine: nothing about images."""

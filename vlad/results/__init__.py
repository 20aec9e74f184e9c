"""What a run leaves on disk: its folder, rows, maps, verdicts and regions."""

"""Programs that trained the built-in backbone: `python -m tiny.train WHEEL --out DIR` here."""

"""Programs that trained the built-in backbone: `python -m tiny.train --out DIR`, in tools/."""

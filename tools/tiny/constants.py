"""What the backbone's pixels are: CLIP's normalisation, and the patch size."""

import torch

PATCH = 16
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])

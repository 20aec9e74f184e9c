"""Muon for the matrices of the blocks, AdamW for the rest.

Muon (Jordan et al. 2024) replaces a matrix's momentum by its nearest orthogonal matrix, found with
a few Newton-Schulz steps; on short runs it needs about half as many steps as AdamW.
"""

import torch


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised.  Matrices stacked along rows (q, k, v) are treated one by one."""

    def __init__(self, params, lr=0.02, momentum=0.95, weight_decay=0.02):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(buffer, group["momentum"])
                rows, columns = p.shape
                stacks = update.split(columns) if rows == 3 * columns else (update,)
                update = torch.cat([orthogonal(u) for u in stacks])
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])


# Polynomials that pull singular values in [0.01, 1] to about 1 in three rounds (Polar Express,
# Amsel et al. 2025).
ROUNDS = ((8.2872, -23.5959, 17.3004), (4.1071, -2.9478, 0.5448), (3.9487, -2.9089, 0.5518))


def orthogonal(matrix):
    """The orthogonal factor of a matrix, scaled so that an update moves entries by about 0.2."""
    rows, columns = matrix.shape
    x = matrix / (matrix.norm() * 1.01 + 1e-7)
    x = x.T if rows > columns else x
    for a, b, c in ROUNDS:
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    x = x.T if rows > columns else x
    return x * 0.2 * max(rows, columns) ** 0.5

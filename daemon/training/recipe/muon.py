"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): momentum whose step is made
orthogonal. For convolutions under a normalisation, as in the CIFAR-10 speed runs by the same author."""
import torch

# Coefficients of the quintic Newton-Schulz iteration, from the same source; three are enough here.
A, B, C = 3.4445, -4.7750, 2.0315
ITERATIONS = 3


def orthogonal(gradient: torch.Tensor) -> torch.Tensor:
    """The nearest matrix [rows, columns] to it with singular values of about 1."""
    x = gradient / (gradient.norm() + 1e-7)
    tall = len(x) > x.shape[1]
    x = x.T if tall else x
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = A * x + (B * gram + C * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """For weights [out, ...] whose scale does not matter: they keep the norm sqrt(out), and the rate
    is the relative length of a step."""

    def __init__(self, params, lr: float, momentum: float = 0.6):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weight.grad)
                momentum = state["momentum"].mul_(group["momentum"]).add_(weight.grad)
                nesterov = weight.grad.add(momentum, alpha=group["momentum"])
                step = orthogonal(nesterov.reshape(len(nesterov), -1)).reshape(weight.shape)
                weight.mul_(len(weight) ** 0.5 / weight.norm())
                weight.add_(step, alpha=-group["lr"])

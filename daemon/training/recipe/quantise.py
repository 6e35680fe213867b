#!/usr/bin/env python3
"""Turn the trained float network into integers, and train it a little further as such.

    python3 quantise.py [--epochs N] [--threads N] [--work DIR]

The normalisations go into weights and biases, activations become u8 with a scale for each layer,
weights s8 with a scale for each output channel. Then the network trains on with its values rounded
as they will be, the gradient passing straight through the rounding, until it has adapted. Reads
float.pt, writes int8.pt; what is held out of the training set judges both.
"""
import copy
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

from net import LAYERS, PIXEL_STEPS, PIXEL_ZERO, build, folded, pixels
from train import BATCH, LABEL_SMOOTHING, SEED, Augment, accuracy, arguments, parser, split

EPOCHS = 4
RATE = 2e-3
# Training images that the first scales of the activations are taken from.
CALIBRATION = 2_000
# Shares of the largest activation that are tried as the end of its range.
SHARES = torch.linspace(0.3, 1.0, 36)
# Weight of the past in the running average of the weights: over some 200 steps, two epochs.
AVERAGE = 0.995


def rounded(values: torch.Tensor) -> torch.Tensor:
    """Half to even, with the gradient of the identity."""
    return values + (values.round() - values).detach()


class QuantisedConv(nn.Module):
    """A convolution and its ReLU on u8 values of scale `scale_in`, to u8 values of `scale_out`."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, stride: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.float()), nn.Parameter(bias.float())
        self.stride = stride
        self.register_buffer("scale_out", torch.ones(()))

    def weight_scale(self) -> torch.Tensor:
        """[out], so that the largest weight of each channel is 127."""
        return self.weight.abs().amax((1, 2, 3)).clamp_min(1e-8) / 127

    def forward(self, values: torch.Tensor, scale_in: torch.Tensor, quantised: bool):
        """Real values in and out, with the scale of what comes out."""
        weight, bias, scale_out = self.weight, self.bias, self.scale_out
        if quantised:
            scale = self.weight_scale().detach()
            weight = rounded(weight / scale[:, None, None, None]) * scale[:, None, None, None]
            bias = rounded(bias / (scale * scale_in)) * (scale * scale_in)
        values = F.conv2d(values, weight, bias, self.stride, padding=1)
        if not quantised:
            return values.relu(), scale_out
        return rounded((values / scale_out).clamp(0, 255)) * scale_out, scale_out


class QuantisedNet(nn.Module):
    """The same network as net.build(), with rounding that can be switched off."""

    def __init__(self, layers, head: nn.Linear):
        super().__init__()
        self.convs = nn.ModuleList(QuantisedConv(*layer) for layer in layers)
        self.head = nn.Linear(head.in_features, head.out_features)
        self.head.load_state_dict(head.state_dict())
        self.quantised = True

    def activations(self, values: torch.Tensor):
        scale = torch.tensor(1 / PIXEL_STEPS)
        for conv in self.convs:
            values, scale = conv(values, scale, self.quantised)
            yield values

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        for values in self.activations(values):
            pass
        return self.head(values.mean((2, 3)))


def best_scale(values: torch.Tensor) -> float:
    """Of those tried, the u8 scale with the least mean square error."""
    values = values.flatten()
    values = values[torch.randint(len(values), (200_000,))]
    scales = SHARES * values.max() / 255
    errors = [
        (((values / scale).round().clamp(0, 255) * scale - values) ** 2).mean() for scale in scales
    ]
    return scales[torch.stack(errors).argmin()].item()


@torch.no_grad()
def calibrate(net: QuantisedNet, images: torch.Tensor) -> None:
    net.quantised = False
    values = pixels(images[torch.randperm(len(images))[:CALIBRATION]])
    for conv, activation in zip(net.convs, net.activations(values)):
        conv.scale_out.fill_(best_scale(activation))
    net.quantised = True


def fine_tune(
    net: QuantisedNet, epochs: int, rate: float, images: torch.Tensor, labels: torch.Tensor, held=None
) -> QuantisedNet:
    """Trains `net` on and returns its running average; `held`, images and labels, only judges it."""
    augment, steps = Augment(images), len(images) // BATCH
    average = copy.deepcopy(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, nesterov=True)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    for epoch in range(epochs):
        began, order, loss_sum = time.monotonic(), torch.randperm(len(labels)), 0.0
        for step in range(steps):
            which = order[step * BATCH : (step + 1) * BATCH]
            logits = net(pixels(augment(which)))
            loss = F.cross_entropy(logits, labels[which], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay.step()
            with torch.no_grad():
                for mean, now in zip(average.parameters(), net.parameters()):
                    mean.lerp_(now, 1 - AVERAGE)
            loss_sum += loss.item()
        judged = f", held out {accuracy(average, *held, 'cpu'):.4f}" if held else ""
        left = (epochs - epoch - 1) * (time.monotonic() - began) / 60
        done = f"as integers, epoch {epoch + 1}/{epochs}"
        print(f"{done} loss {loss_sum / steps:.4f}{judged}, {left:.0f} min left", flush=True)
    return average


def integers(net: QuantisedNet) -> dict:
    """What QLinearConv takes: for each layer weight int8, weight scale, bias int32, scale out."""
    layers, scale_in = [], 1 / PIXEL_STEPS
    for conv, (_, stride) in zip(net.convs, LAYERS):
        scale = conv.weight_scale().detach().double()
        weight = (conv.weight.detach().double() / scale[:, None, None, None]).round()
        bias = (conv.bias.detach().double() / (scale * scale_in)).round()
        scale_out = conv.scale_out.item()
        layers.append(
            {
                "weight": weight.clamp(-127, 127).to(torch.int8),
                "weight_scale": scale.float(),
                "bias": bias.to(torch.int32),
                "scale_out": scale_out,
                "stride": stride,
            }
        )
        scale_in = scale_out
    head = {name: value.detach() for name, value in net.head.state_dict().items()}
    return {"input_scale": 1 / PIXEL_STEPS, "input_zero": PIXEL_ZERO, "layers": layers, "head": head}


def main() -> None:
    args = arguments(parser(__doc__.splitlines()[0], EPOCHS))
    torch.manual_seed(SEED)
    images, labels, *held = split(args.cache)
    trained = build()
    try:
        trained.load_state_dict(torch.load(args.work / "float.pt", weights_only=True))
    except FileNotFoundError:
        sys.exit(f"quantise: {args.work} holds no float.pt, run train.py first")
    trained.eval()
    net = QuantisedNet(folded(trained), trained[-1])
    calibrate(net, images)
    print(f"float, held out {accuracy(trained, *held, 'cpu'):.4f}")
    print(f"rounded, held out {accuracy(net, *held, 'cpu'):.4f}")
    average = fine_tune(net, args.epochs, RATE, images, labels, held)
    torch.save(integers(average), args.work / "int8.pt")
    print("wrote", args.work / "int8.pt")


if __name__ == "__main__":
    main()

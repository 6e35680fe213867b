"""The network: 3x3 convolutions one after the other, the mean over what is left, one linear layer.

Plain at inference on purpose. Every layer is one QLinearConv whose ReLU is the clamp at the end of
its output's range; sums of branches would need operators that integer engines lack or run slowly.
"""
import torch
from torch import nn

# (output channels, stride) of each convolution; 24.9 million multiply-accumulates for 32x32 pixels.
LAYERS = ((16, 1), (32, 2), (48, 1), (96, 2), (96, 1), (96, 1), (128, 2), (128, 1), (128, 1))
CLASSES = 10

# A pixel p enters as (p - PIXEL_ZERO) / PIXEL_STEPS: one zero point and one scale for all three
# channels, as a quantised input has them.
PIXEL_ZERO = 121
PIXEL_STEPS = 64


def build() -> nn.Sequential:
    """Returns the float network: [N, 3, 32, 32] as `pixels` makes it, to [N, 10] logits."""
    layers, channels = [], 3
    for out, stride in LAYERS:
        conv = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        if channels > 3:
            # Begins as near to the identity as its shape allows, which stands in for a skip.
            nn.init.dirac_(conv.weight[: min(channels, out)])
        layers += [conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
        channels = out
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]
    return nn.Sequential(*layers, *head).to(memory_format=torch.channels_last)


def pixels(images: torch.Tensor) -> torch.Tensor:
    """uint8 [N, 3, H, W] to what the network takes."""
    values = (images.float() - PIXEL_ZERO) / PIXEL_STEPS
    return values.contiguous(memory_format=torch.channels_last)


def macs(side: int = 32) -> int:
    """Multiply-accumulates for one image of side x side pixels."""
    total, channels = 0, 3
    for out, stride in LAYERS:
        side = -(-side // stride)
        total += 9 * channels * out * side * side
        channels = out
    return total + channels * CLASSES


def folded(net: nn.Sequential) -> list[tuple[torch.Tensor, torch.Tensor, int]]:
    """Weight [out, in, 3, 3], bias [out] and stride of each convolution, its normalisation in them."""
    found = []
    for at in range(len(LAYERS)):
        conv, norm = net[3 * at], net[3 * at + 1]
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = conv.weight * gain[:, None, None, None]
        bias = norm.bias - norm.running_mean * gain
        found.append((weight.detach().double(), bias.detach().double(), conv.stride[0]))
    return found

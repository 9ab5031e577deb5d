"""Layers and networks that all tests of low-rank training share."""

import torch
from helpers import F64, normal
from torch import nn

from lecturelib.low_rank_training import LoRALinear
from lecturelib.networks import MLP, ViT


def linear(seed, d_in, d_out, bias=True, dtype=F64):
    layer = nn.Linear(d_in, d_out, bias, dtype=dtype)
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.copy_(normal(seed + number, *parameter.shape))
    return layer


def adapter(seed, d_in, d_out, rank, *, alpha=None, bias=True, dtype=F64):
    """A LoRA layer in the middle of its training."""
    layer = LoRALinear(linear(seed, d_in, d_out, bias, dtype), rank, alpha)
    with torch.no_grad():
        layer.A.copy_(normal(seed + 2, rank, d_in))
        layer.B.copy_(normal(seed + 3, d_out, rank))
    return layer


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def flags(module):
    return {name: parameter.requires_grad for name, parameter in module.named_parameters()}


def trainable(module):
    return [name for name, flag in flags(module).items() if flag]


def mlp(seed=0, **options):
    torch.manual_seed(seed)
    return MLP([6, 8, 7, 3], **options)


def vit(seed=0):
    torch.manual_seed(seed)
    net = ViT((1, 4, 4), 3, patch=2, dim=8, depth=2, heads=2, hidden=12)
    for parameter in net.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    return net


IN_BLOCKS = [
    f"blocks.{number}.{name}"
    for number in range(2)
    for name in ("linear1", "linear2", "self_attn.out_proj")
]
CASES = [
    (mlp, ["hidden.1.0"]),
    (mlp, ["head", "hidden.0.0"]),
    (vit, ["embedding", "head", "blocks.1.linear2"]),
    (vit, ["blocks.0.self_attn.out_proj"]),
    (vit, IN_BLOCKS),
]


def inputs_for(net, n=12, dtype=torch.float32):
    shape = (6,) if isinstance(net, MLP) else (1, 4, 4)
    return normal(1, n, *shape, dtype=dtype), torch.arange(n) % 3

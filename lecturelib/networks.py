"""Networks whose features can be read at every layer."""

from itertools import pairwise

import torch
from torch import nn

from lecturelib import checks

__all__ = ["MLP", "ViT"]


class MLP(nn.Module):
    """Fully connected classifier: hidden layers, then a linear head.

    Parameters
    ----------
    widths : sequence of int
        ``(d_in, hidden widths …, K)``, at least three numbers, all positive.
    batch_norm : bool, optional
        Normalise each ReLU layer before its activation.
    linear_tail : int, optional
        How many of the last hidden layers stay linear (no activation, no normalisation), between 0
        and the number of hidden layers. With 6 of 10 this is the lectures' hybrid network.

    Attributes
    ----------
    hidden : torch.nn.ModuleList
        The hidden layers, each an ``nn.Sequential``.
    head : torch.nn.Linear
        The classifier; ``head.weight`` is W (K, d), ``head.bias`` is b (K,).

    Raises
    ------
    TypeError, ValueError
        If a width is not positive, there are fewer than three, or the tail is too long.

    Examples
    --------
    >>> import torch
    >>> net = MLP([64, 32, 16, 10], batch_norm=True)
    >>> images = torch.zeros(5, 1, 8, 8)  # anything whose trailing shape flattens to d_in
    >>> net(images).shape, net.features(images).shape
    (torch.Size([5, 10]), torch.Size([5, 16]))
    """

    def __init__(self, widths, *, batch_norm=False, linear_tail=0):
        super().__init__()
        widths = checks.integers("widths", widths, least=1)
        if len(widths) < 3:
            raise checks.wrong("widths", "three or more integers", widths)
        depth = len(widths) - 2
        batch_norm = checks.flag("batch_norm", batch_norm)
        linear_tail = checks.integer("linear_tail", linear_tail, 0, depth)
        self.d_in = widths[0]
        self.hidden = nn.ModuleList()
        for layer, (d_in, d_out) in enumerate(pairwise(widths[:-1])):
            parts = [nn.Linear(d_in, d_out)]
            if layer < depth - linear_tail:
                parts += [nn.BatchNorm1d(d_out)] if batch_norm else []
                parts += [nn.ReLU()]
            self.hidden.append(nn.Sequential(*parts))
        self.head = nn.Linear(widths[-2], widths[-1])

    def forward(self, inputs):
        """Return the logits, shape (N, K), of inputs (N, …) with d_in entries each."""
        return self.head(self.features(inputs))

    def features(self, inputs):
        """Return the last hidden layer's output, shape (N, d): what the head sees."""
        return self.taps(inputs)[-1]

    def taps(self, inputs):
        """Return the output of every hidden layer, first to last, shapes (N, width)."""
        inputs = checks.inputs("inputs", inputs, self)
        if inputs.ndim < 2 or inputs[:1].numel() != min(len(inputs), 1) * self.d_in:
            raise checks.wrong("inputs", f"samples of {self.d_in} entries each", inputs)
        features, outputs = inputs.flatten(1), []
        for layer in self.hidden:
            features = layer(features)
            outputs.append(features)
        return outputs


class ViT(nn.Module):
    """Small vision transformer: patches as tokens, a class token, pre-norm blocks, a linear head.

    Parameters
    ----------
    image_shape : tuple of int
        ``(C, H, W)`` of the images.
    num_classes : int
        Number K of classes.
    patch : int
        Side of the square patches in pixels; divides H and W.
    dim : int, optional
        Width of the tokens, a multiple of ``heads``.
    depth : int, optional
        Number of blocks.
    heads : int, optional
        Attention heads per block.
    hidden : int, optional
        Width of the two-layer network in each block (default: ``dim``, so that its weights are
        square).

    Attributes
    ----------
    blocks : torch.nn.ModuleList
        The blocks, each an ``nn.TransformerEncoderLayer``; ``blocks[-1].linear2.weight`` is the
        last weight before the head.
    head : torch.nn.Linear
        The classifier of the class token.

    Raises
    ------
    TypeError, ValueError
        If a number is not positive, or patches or heads do not fit.

    References
    ----------
    Dosovitskiy et al. (2021), section 3.1.

    Examples
    --------
    >>> net = ViT((1, 8, 8), num_classes=10, patch=2, dim=32, depth=3)
    >>> images = torch.zeros(5, 1, 8, 8)
    >>> net(images).shape, net.features(images).shape, len(net.taps(images))
    (torch.Size([5, 10]), torch.Size([5, 32]), 3)
    """

    def __init__(self, image_shape, num_classes, *, patch, dim=64, depth=4, heads=4, hidden=None):
        super().__init__()
        channels, height, width = checks.integers("image_shape", image_shape, length=3, least=1)
        num_classes = checks.integer("num_classes", num_classes, least=1)
        patch = checks.integer("patch", patch, least=1)
        dim, depth = checks.integer("dim", dim, least=1), checks.integer("depth", depth, least=1)
        heads = checks.integer("heads", heads, least=1)
        hidden = checks.integer("hidden", dim if hidden is None else hidden, least=1)
        if height % patch or width % patch:
            raise checks.wrong("patch", f"a divisor of {height} and {width} pixels", patch)
        if dim % heads:
            raise checks.wrong("heads", f"a divisor of dim={dim}", heads)
        self.image_shape, self.patch = (channels, height, width), patch
        self.embedding = nn.Linear(channels * patch**2, dim)
        tokens = (height // patch) * (width // patch)
        self.class_token = nn.Parameter(0.02 * torch.randn(dim))
        self.positions = nn.Parameter(0.02 * torch.randn(tokens + 1, dim))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                dim, heads, hidden, dropout=0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, images):
        """Return the logits, shape (N, K), of images (N, C, H, W)."""
        return self.head(self.features(images))

    def features(self, images):
        """Return the class token after the last block, normalised, shape (N, dim)."""
        return self.taps(images)[-1]

    def taps(self, images):
        """Return the class token after every block, first to last, shapes (N, dim).

        The last one is normalised: it is what the head sees.
        """
        images = checks.inputs("images", images, self)
        if images.shape[1:] != self.image_shape:
            raise checks.wrong("images", f"of shape (N, *{self.image_shape})", images)
        patches = nn.functional.unfold(images, self.patch, stride=self.patch).mT
        tokens = self.embedding(patches)
        start = self.class_token.expand(len(images), 1, -1)
        tokens = torch.cat([start, tokens], dim=1) + self.positions
        outputs = []
        for block in self.blocks:
            tokens = block(tokens)
            outputs.append(tokens[:, 0])
        return [*outputs[:-1], self.norm(outputs[-1])]

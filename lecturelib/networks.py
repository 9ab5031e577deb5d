"""Networks whose features can be read at every layer."""

from itertools import pairwise

from torch import nn

__all__ = ["MLP"]


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
    ValueError
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
        if len(widths) < 3 or min(widths) < 1:
            raise ValueError(f"widths must be three or more positive numbers, got {widths}")
        depth = len(widths) - 2
        if not 0 <= linear_tail <= depth:
            raise ValueError(f"linear_tail must lie in 0 .. {depth}, got {linear_tail}")
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
        features, outputs = inputs.flatten(1), []
        for layer in self.hidden:
            features = layer(features)
            outputs.append(features)
        return outputs

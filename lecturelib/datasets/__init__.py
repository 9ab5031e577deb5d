"""Image data sets and a synthetic mixture: checked against published hashes, usable offline.

:func:`load` reads six image data sets from the files their authors published,
:func:`load_standardized` puts both splits of one on a common scale. :func:`gaussian_mixture` draws
data whose structure is known exactly.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pooch
import torch
from torch import Tensor

from lecturelib import checks
from lecturelib.datasets import _files
from lecturelib.device import Movable

__all__ = ["Dataset", "gaussian_mixture", "load", "load_standardized", "standardize"]


@dataclass(frozen=True, eq=False)
class Dataset(Movable):
    """One split of an image data set.

    Attributes
    ----------
    inputs : Tensor, shape (N, C, H, W)
        Images, float32 in [0, 1].
    labels : Tensor, shape (N,)
        Class numbers, int64 in 0 .. num_classes - 1.
    classes : tuple of str
        Name of every class, in the order of the labels.
    """

    inputs: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)


def load(name, split="train", *, root=None, download=True) -> Dataset:
    """Load one split of an image data set.

    Parameters
    ----------
    name : {"digits", "mnist", "fashion_mnist", "usps", "cifar10", "cifar100"}
        Data set.
    split : {"train", "test"}
        Split, as published; for ``digits`` see Notes.
    root : str or Path, optional
        Data folder. Default: the folder in the environment variable ``LECTURELIB_DATA``, else
        pooch's cache folder of this user.
    download : bool
        Whether to fetch files that are missing, into ``root/name/``.

    Returns
    -------
    Dataset
        ``inputs`` (N, C, H, W) float32 in [0, 1], ``labels`` (N,) int64, and ``classes``. Images
        are in the order of the published files.

    Raises
    ------
    TypeError, ValueError
        If the name or split is unknown, or a file is not the published one, or is malformed.
    FileNotFoundError
        If a file is missing and ``download`` is False or fails; the message says what to do.

    Notes
    -----
    ============= ============ ======= ======= =======
    name          image        classes train   test
    ============= ============ ======= ======= =======
    digits        1 x 8 x 8    10      1 400   397
    mnist         1 x 28 x 28  10      60 000  10 000
    fashion_mnist 1 x 28 x 28  10      60 000  10 000
    usps          1 x 16 x 16  10      7 291   2 007
    cifar10       3 x 32 x 32  10      50 000  10 000
    cifar100      3 x 32 x 32  100     50 000  10 000
    ============= ============ ======= ======= =======

    ``digits`` comes with scikit-learn and needs no network. It has no published split; here the
    first 140 images of every class, in file order, are the training set (exactly balanced, n = 140
    per class), and the other 397 are the test set. ``cifar100`` has the fine labels.

    A file is taken from ``root/name/FILE``, else ``root/FILE``: the named folder wins because mnist
    and fashion_mnist share their file names. Its MD5 is compared with the published one before it
    is read. A file with another hash is neither read nor deleted.

    CIFAR may also lie unpacked, as ``cifar-10-batches-bin/`` or ``cifar-100-binary/`` in the same
    two places; the archive wins where both exist. Unpacked files have no published hash, so only
    their format is checked: whole records, at least one, and labels in range. Without
    ``fine_label_names.txt`` the classes of CIFAR-100 are named by their numbers.

    References
    ----------
    - E. Alpaydin and C. Kaynak, "Optical recognition of handwritten digits", UCI Machine
      Learning Repository, 1998 (digits).
    - Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to
      document recognition", Proceedings of the IEEE 86(11), 1998 (mnist).
    - H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking
      machine learning algorithms", arXiv:1708.07747, 2017 (fashion_mnist).
    - J. J. Hull, "A database for handwritten text recognition research", IEEE Transactions on
      Pattern Analysis and Machine Intelligence 16(5), 1994 (usps).
    - A. Krizhevsky, "Learning multiple layers of features from tiny images", University of
      Toronto, 2009 (cifar10, cifar100).

    Examples
    --------
    >>> digits = load("digits")
    >>> digits.inputs.shape, digits.num_classes
    (torch.Size([1400, 1, 8, 8]), 10)
    >>> digits.labels.bincount().unique().tolist()
    [140]
    """
    name = checks.choice("name", name, _files.NAMES)
    split = checks.choice("split", split, _files.SPLITS)
    download = checks.flag("download", download)
    root = checks.path("root", root)
    if root is None:
        root = Path(os.environ.get("LECTURELIB_DATA") or pooch.os_cache("lecturelib"))
    images, labels, classes = _files.read(name, split, root.expanduser(), download)
    return Dataset(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)), classes)


def load_standardized(name, *, device=None, root=None, download=True):
    """Load both splits of an image data set, every pixel on one scale.

    Parameters
    ----------
    name : str
        Data set, as in :func:`load`.
    device : torch.device or str, optional
        Where to put them (default: the CPU).
    root, download
        As in :func:`load`.

    Returns
    -------
    train, test : Dataset
        With inputs that have mean zero and variance one over the training set, as
        :func:`standardize` makes them.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError
        As :func:`load`.

    Examples
    --------
    >>> train, test = load_standardized("digits")
    >>> len(train.labels), len(test.labels), bool(train.inputs.mean().abs() < 1e-6)
    (1400, 397, True)
    """
    device = checks.device("device", device)
    train, test = (load(name, split, root=root, download=download) for split in _files.SPLITS)
    return tuple(
        replace(part, inputs=standardize(part.inputs, reference=train.inputs)).to(device)
        for part in (train, test)
    )


def standardize(inputs, *, reference=None) -> Tensor:
    """Shift and scale every feature to mean zero and variance one over a reference.

    Parameters
    ----------
    inputs : Tensor, shape (N, ...)
        Samples, floating point.
    reference : Tensor, shape (M, ...), optional
        Samples whose mean and variance are used; the default is ``inputs``. For a test set, give
        the training inputs.

    Returns
    -------
    Tensor, shape (N, ...)
        Standardized samples, dtype of ``inputs``. A feature that is constant in the reference
        (a border pixel, say) is exactly 0.

    Raises
    ------
    TypeError, ValueError
        If a tensor is empty, not floating point or not finite, or the trailing shapes differ.

    Notes
    -----
    Per feature ``j``, ``(x_j - mean_j) / std_j``, where ``std_j**2`` is the mean of the squared
    deviations over the M reference samples (divisor M).

    References
    ----------
    Y. LeCun, L. Bottou, G. B. Orr and K.-R. Müller, "Efficient BackProp", in Neural
    Networks: Tricks of the Trade, 1998, section 4.3.

    Examples
    --------
    >>> standardize(torch.tensor([[0.0, 5.0], [2.0, 5.0]]))
    tensor([[-1.,  0.],
            [ 1.,  0.]])
    >>> train, test = load("digits"), load("digits", "test")
    >>> standardize(test.inputs, reference=train.inputs).shape
    torch.Size([397, 1, 8, 8])
    """
    inputs = _samples("inputs", inputs)
    reference = inputs if reference is None else _samples("reference", reference)
    if inputs.shape[1:] != reference.shape[1:]:
        raise checks.wrong("reference", f"samples of shape {tuple(inputs.shape[1:])}", reference)
    std = reference.std(0, correction=0)
    # A rounded mean can leave a constant feature a tiny variance, so ask for constancy itself too.
    constant = (reference == reference[0]).all(0) | (std == 0)
    scaled = (inputs - reference.mean(0)) / std.masked_fill(constant, 1)
    return scaled.masked_fill(constant, 0).to(inputs.dtype)


def _samples(name, value):
    value = checks.tensor(name, value)
    if value.ndim == 0 or value.numel() == 0:
        raise checks.wrong(name, "one sample or more", value)
    return value


def gaussian_mixture(means, samples_per_class, noise, *, batch_shape=(), generator=None):
    """Draw the same number of samples around every mean, with isotropic Gaussian noise.

    Parameters
    ----------
    means : Tensor, shape (K, d)
        Class means, floating point; they give dtype and device.
    samples_per_class : int
        Samples n of every class, at least 1.
    noise : float or Tensor, shape ``batch_shape``
        Standard deviation of every coordinate, at least 0; a tensor has one for each data set.
    batch_shape : tuple of int, optional
        Leading dimensions: that many independent data sets.
    generator : torch.Generator, optional
        Source of random numbers, on the CPU (default: torch's global one).

    Returns
    -------
    features : Tensor, shape (…, K * n, d)
        Samples, ordered by class.
    labels : Tensor, shape (K * n,)
        Class numbers, int64.

    Raises
    ------
    TypeError, ValueError
        If ``means`` is not a finite floating-point matrix with at least one entry,
        ``samples_per_class < 1``, or ``noise`` is negative or not finite.

    Notes
    -----
    Sample i of class k is ``h_ki = mean_k + noise * z_ki`` with independent ``z_ki ~ N(0, I_d)``.

    References
    ----------
    T. Hastie, R. Tibshirani and J. Friedman, "The Elements of Statistical Learning", 2nd
    edition, Springer, 2009, section 4.3 (Gaussian classes with one common covariance).

    Examples
    --------
    >>> features, labels = gaussian_mixture(torch.eye(2), samples_per_class=2, noise=0.0)
    >>> features
    tensor([[1., 0.],
            [1., 0.],
            [0., 1.],
            [0., 1.]])
    >>> labels
    tensor([0, 0, 1, 1])
    """
    means = checks.tensor("means", means, ("K", "d"))
    samples_per_class = checks.integer("samples_per_class", samples_per_class, least=1)
    batch_shape = checks.shape("batch_shape", batch_shape)
    generator = checks.generator("generator", generator)
    if isinstance(noise, Tensor | np.ndarray) and noise.ndim > 0:
        noise = checks.tensor("noise", noise, batch_shape).to(means)[..., None, None]
        if (noise < 0).any():
            raise checks.wrong("noise", "numbers >= 0", noise.min())
    else:
        noise = checks.number("noise", noise, least=0)
    centres = means.repeat_interleave(samples_per_class, dim=0)
    labels = torch.arange(len(means), device=means.device).repeat_interleave(samples_per_class)
    normal = torch.randn(*batch_shape, *centres.shape, generator=generator, dtype=means.dtype)
    return centres + noise * normal.to(means.device), labels

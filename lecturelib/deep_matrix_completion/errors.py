"""The matrix of the errors at observed places, and products with it."""

import warnings

import torch

__all__ = ["DenseErrors", "SparseErrors", "entries", "errors_at", "leading_vectors", "normal"]

# Numbers gathered at once: they must fit into a cache, or a GPU's memory.
GATHERED = {"cpu": 2**18, "cuda": 2**25}

# A step gathers fewer numbers: it takes one thread as long as two, or hardly longer.
SMALL = 2**17

# Zeros are computed as well in matrices with up to so many places, and in those with up to MEDIUM
# places if at least every SPARSE-th was observed. Measured on one core (float64, widths 10 and 40):
# up to 128 x 128 that takes at most as long at any share of observed entries. From 200 x 200 to
# 1000 x 1000 it breaks even at shares from 0.10 to 0.18, and at 0.3 it takes half as long.
TINY, MEDIUM, SPARSE = 2**14, 2**18, 6

# Rounds of subspace iteration, and vectors beyond those asked for, in a truncated SVD.
SWEEPS, OVERSAMPLING = 20, 10


def errors_at(observed, width):
    """Choose the form of the matrix of the errors in which a step is faster.

    Parameters
    ----------
    observed : Observed
        The observations.
    width : int
        Of the factors whose errors these will be.

    Returns
    -------
    DenseErrors or SparseErrors
    """
    size = observed.shape[0] * observed.shape[1]
    if size <= TINY or (size <= MEDIUM and SPARSE * len(observed.values) >= size):
        return DenseErrors(observed)
    return SparseErrors(observed, width)


def entries(left, right, rows, cols, out=None, space=None):
    """Compute entries of left rightᵀ, without the product.

    Parameters
    ----------
    left, right : Tensor, shapes (d_1, w) and (d_2, w)
        Factors.
    rows, cols : Tensor, shape (M,), int64
        Places.
    out : Tensor, shape (M,), optional
        Where the entries are written.
    space : Tensor, shape (2, chunk, w), optional
        A :func:`workspace`, for those who come back.

    Returns
    -------
    Tensor, shape (M,)
    """
    out = left.new_empty(len(rows)) if out is None else out
    space = workspace(left, len(rows), left.shape[1]) if space is None else space
    chunk, ones = space.shape[1], left.new_ones(left.shape[1], 1)
    for start in range(0, len(rows), chunk):
        part = slice(start, start + chunk)
        own, other = space[:, : len(rows[part])]
        torch.index_select(left, 0, rows[part], out=own)
        torch.index_select(right, 0, cols[part], out=other)
        # A product with ones is the faster sum.
        torch.mm(own.mul_(other), ones, out=out[part].unsqueeze(1))
    return out


def workspace(like, count, width):
    """Return room for :func:`entries` to gather rows of two factors, for so many entries."""
    chunk = GATHERED.get(like.device.type, GATHERED["cpu"]) // width
    return like.new_empty(2, max(1, min(count, chunk)), width)


class SparseErrors:
    """A matrix with values at the observed places, in coordinates; memory as there are entries.

    Parameters
    ----------
    observed : Observed
        The observations.
    width : int
        Of the factors whose errors these will be.

    Attributes
    ----------
    by_rows, by_cols : Tensor, shapes (d_1, d_2) and (d_2, d_1)
        The matrix twice, in compressed rows: a product with either is fast.
    small : bool
        Whether one thread is enough.
    """

    def __init__(self, observed, width):
        self.observed, self.small = observed, len(observed.values) * width < SMALL
        n_rows, n_cols = observed.shape
        rows, cols = observed.rows, observed.cols
        self.by_columns = (cols * n_rows + rows).argsort()  # of the entries by rows
        dtype = observed.values.dtype
        self.by_rows = _compressed_rows(rows, cols, (n_rows, n_cols), dtype)
        rows, cols = rows[self.by_columns], cols[self.by_columns]
        self.by_cols = _compressed_rows(cols, rows, (n_cols, n_rows), dtype)
        self.row_values, self.col_values = self.by_rows.values(), self.by_cols.values()
        self.space = workspace(observed.values, len(observed.values), width)

    def laid_out(self, factor):
        """Copy a factor (d, w) into the layout that is used fastest: its rows are gathered."""
        return factor.clone(memory_format=torch.contiguous_format)

    def hold(self, values):
        """Put values (M,) at the observed places."""
        self.row_values.copy_(values)
        torch.index_select(values, 0, self.by_columns, out=self.col_values)

    def hold_residual(self, left, right):
        """Put the errors of left rightᵀ at the observed places, and return them."""
        seen = self.observed
        entries(left, right, seen.rows, seen.cols, out=self.row_values, space=self.space)
        self.row_values.sub_(seen.values)
        torch.index_select(self.row_values, 0, self.by_columns, out=self.col_values)
        return self.row_values


class DenseErrors:
    """The same with zeros in between: for matrices so small that gathering takes longer."""

    small = True  # as in SparseErrors

    def __init__(self, observed):
        self.observed = observed
        self.mask, self.negative = observed.values.new_zeros((2, *observed.shape))
        self.mask[observed.rows, observed.cols] = 1.0
        self.negative[observed.rows, observed.cols] = -observed.values
        self.by_rows = torch.empty_like(self.mask)
        self.by_cols = self.by_rows.mT

    def laid_out(self, factor):
        """Copy a factor (d, w) into the layout that is used fastest: products are d wide."""
        return factor.mT.clone(memory_format=torch.contiguous_format).mT

    def hold(self, values):
        """Put values (M,) at the observed places."""
        self.by_rows.zero_()[self.observed.rows, self.observed.cols] = values

    def hold_residual(self, left, right):
        """Put the errors of left rightᵀ at the observed places, and return the matrix."""
        torch.mm(left, right.mT, out=self.by_rows)
        return torch.addcmul(self.negative, self.by_rows, self.mask, out=self.by_rows)


def _compressed_rows(rows, cols, shape, dtype):
    """Return zeros at sorted places, as a matrix in compressed rows."""
    starts = torch.zeros(shape[0] + 1, dtype=torch.int64, device=rows.device)
    starts[1:] = rows.bincount(minlength=shape[0]).cumsum(0)
    zeros = torch.zeros(len(rows), dtype=dtype, device=rows.device)
    with warnings.catch_warnings():  # torch calls this layout beta at its first use
        warnings.filterwarnings("ignore", message="Sparse CSR", category=UserWarning)
        return torch.sparse_csr_tensor(starts, cols, zeros, shape, check_invariants=True)


def leading_vectors(errors, count, generator):
    """Find singular vectors of the observed matrix, zeros elsewhere, by subspace iteration.

    Parameters
    ----------
    errors : SparseErrors or DenseErrors
        Of the observations; holds their values afterwards.
    count : int
        How many.
    generator : torch.Generator or None
        Source of randomness.

    Returns
    -------
    left, right : Tensor, shapes (d_1, count) and (d_2, count)
        Those of the largest singular values, as columns.
    """
    values, (n_rows, n_cols) = errors.observed.values, errors.observed.shape
    errors.hold(values)
    width = min(count + OVERSAMPLING, n_rows, n_cols)
    basis = normal((n_cols, width), values, generator)
    for _ in range(SWEEPS):
        image = torch.linalg.qr(errors.by_rows @ basis).Q
        basis = torch.linalg.qr(errors.by_cols @ image).Q
    left, _, small = torch.linalg.svd(errors.by_rows @ basis, full_matrices=False)
    return left[:, :count], basis @ small.mT[:, :count]


def normal(shape, like, generator):
    """Draw standard normal numbers where the generator is, and move them to where a tensor is."""
    device = generator.device if generator else "cpu"
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=device).to(like.device)

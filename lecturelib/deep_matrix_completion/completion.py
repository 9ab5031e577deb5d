"""An estimate of a matrix, and the recorder of its errors."""

import math
from dataclasses import dataclass

from lecturelib.deep_linear import end_to_end
from lecturelib.deep_matrix_completion.observations import checked_observations, entries, places
from lecturelib.training import History, Recorder

__all__ = ["Completion", "ErrorRecorder"]


@dataclass(frozen=True, eq=False)
class Completion(History):
    r"""An estimate and how it came about; ``run["train_error"]`` is what was recorded.

    Attributes
    ----------
    steps : Tensor, shape (T,)
        Recorded steps, int64; the last one is where the run ended.
    values : dict of str to Tensor
        ``"train_error"``: error at the observed entries, relative, norm of the difference over norm
        of the values. ``"test_error"``: the same at the entries of ``test``, if there was one.
        ``"seconds"``: wall time up to a record, the start included, without the time that recording
        took. Shapes (T,), float64. And each metric.
    factors : list of Tensor
        Matrices whose product is the estimate, the rightmost first, as in
        :func:`~lecturelib.deep_linear.end_to_end`.
    """

    factors: list

    def predict(self, rows, cols):
        """Return some entries of the estimate, without the others.

        Parameters
        ----------
        rows, cols : Tensor, shape (M,)
            Where they stand, integers.

        Returns
        -------
        Tensor, shape (M,)

        Raises
        ------
        TypeError, ValueError
            If these are not places in the matrix.
        """
        return _predict(self.factors, *places(rows, cols, _shape(self.factors)))

    def dense(self):
        """Multiply all factors, shape (d_1, d_2)."""
        return end_to_end(self.factors)


class ErrorRecorder(Recorder):
    """A recorder that measures an estimate by its factors.

    Parameters
    ----------
    norm : float
        Of the values that are to be fitted.
    shape : tuple of two int
        Of the matrix.
    test : Observations or None
        Where to record a test error.
    steps, every, metrics
        As in :class:`~lecturelib.training.Recorder`.
    """

    def __init__(self, norm, shape, test, steps, every, metrics):
        super().__init__(steps, every, metrics)
        self.norm = norm
        if test is not None:
            test = checked_observations("test", test, shape)

            def test_error(factors):
                gap = _predict(factors, test.rows, test.cols) - test.values
                return gap.norm() / test.values.norm()

            self.metrics = {"test_error": test_error} | self.metrics

    def record_errors(self, step, factors, residual, floor=0.0):
        """File a step; return its relative error at the observed entries.

        Parameters
        ----------
        step : int
            The step.
        factors : list of Tensor
            Whose product is the estimate.
        residual : Tensor
            Errors at the observed entries.
        floor : float, optional
            Squares to add to theirs.
        """
        squares = residual.square().sum().item()  # waits for the device
        error = math.sqrt(squares + floor) / self.norm
        self.record(step, factors, train_error=error, seconds=self.seconds)
        return error

    def completion(self, factors):
        """Return what was recorded, and the estimate."""
        history = self.history()
        return Completion(history.steps, history.values, factors)


def _shape(factors):
    return len(factors[-1]), factors[0].shape[1]


def _predict(factors, rows, cols):
    """Entries of the product of a chain whose inner widths are all the same."""
    first, *others = factors
    if len(first) >= min(_shape(factors)):
        return end_to_end(factors)[rows, cols]
    return entries(end_to_end(others).contiguous(), first.mT.contiguous(), rows, cols)

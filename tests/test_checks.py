"""Every checker: what it lets through and in which form, what it refuses and in which words."""

import re
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import F64
from torch import nn

from lecturelib import checks

EYE, ARRAY = torch.eye(2), np.eye(2)


def refused(kind, message):
    """Demand an exception of exactly this kind and wording."""
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


# --- the wording --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("got", "described"),
    [
        (3, "3"),
        ("word", "'word'"),
        (None, "None"),
        (torch.zeros(2, 3), "a float32 tensor of shape (2, 3)"),
        (torch.zeros(3, dtype=torch.int64), "an int64 tensor of shape (3,)"),
        (torch.zeros(3, dtype=torch.uint8), "a uint8 tensor of shape (3,)"),
        (np.zeros((2, 0)), "a float64 array of shape (2, 0)"),
        (np.array([None]), "an object array of shape (1,)"),
        (torch.tensor(0.5), "the float32 0.5"),
        (np.array(7), "the int64 7"),
        (nn.Linear(2, 3), "a module Linear"),
        ("x" * 58, f"'{'x' * 58}'"),
        ("x" * 59, f"'{'x' * 56}… (str)"),
        (list(range(50)), f"{repr(list(range(50)))[:57]}… (list)"),
    ],
)
def test_a_message_says_what_was_expected_and_what_was_given(got, described):
    assert str(checks.wrong("x", "a cat", got)) == f"x must be a cat, got {described}"


def test_the_exception_is_of_the_kind_asked_for():
    assert type(checks.wrong("x", "a cat", 3)) is ValueError
    assert type(checks.wrong("x", "a cat", 3, TypeError)) is TypeError


# --- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [3, np.int64(3), np.uint8(3), torch.tensor(3), torch.tensor(3, dtype=torch.uint8), np.array(3)],
)
def test_integers_of_all_makes_become_int(value):
    found = checks.integer("n", value, least=3, most=3)
    assert type(found) is int and found == 3


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (3.0, "3.0"),
        (True, "True"),
        (np.True_, repr(np.True_)),
        ("3", "'3'"),
        (None, "None"),
        (torch.tensor(3.0), "the float32 3.0"),
        (torch.tensor(True), "the bool True"),
        (torch.tensor([3]), "an int64 tensor of shape (1,)"),
    ],
)
def test_what_is_no_integer(value, got):
    with refused(TypeError, f"n must be an integer, got {got}"):
        checks.integer("n", value)


@pytest.mark.parametrize(
    ("value", "ends", "words"),
    [
        (0, {"least": 1}, " >= 1"),
        (4, {"most": 3}, " <= 3"),
        (0, {"least": 1, "most": 3}, " in 1 .. 3"),
        (4, {"least": 1, "most": 3}, " in 1 .. 3"),
    ],
)
def test_integers_out_of_range(value, ends, words):
    with refused(ValueError, f"n must be an integer{words}, got {value}"):
        checks.integer("n", value, **ends)


@pytest.mark.parametrize(
    "value",
    [0.5, np.float32(0.5), torch.tensor(0.5, dtype=F64), np.array(0.5), Fraction(1, 2)],
)
def test_numbers_of_all_makes_become_float(value):
    found = checks.number("lr", value, least=0.5, most=0.5)
    assert type(found) is float and found == 0.5
    assert type(checks.number("lr", 2)) is float


@pytest.mark.parametrize(
    "value",
    ["0.5", None, True, 1j, [0.5], torch.tensor([0.5]), torch.tensor(True), torch.tensor(1j)],
)
def test_what_is_no_number(value):
    with pytest.raises(TypeError, match=r"^lr must be a finite number > 0, got "):
        checks.number("lr", value, above=0)


@pytest.mark.parametrize(
    ("ends", "words", "inside", "outside"),
    [
        ({"least": 0}, " >= 0", 0, -1e-9),
        ({"above": 0}, " > 0", 1e-9, 0),
        ({"most": 1}, " <= 1", 1, 1.1),
        ({"below": 1}, " < 1", 0.9, 1),
        ({"least": 0, "most": 1}, " in 0 .. 1", 1, 1.1),
        ({"least": 0, "below": 1}, " >= 0 and < 1", 0, 1),
        ({"above": 0, "most": 1}, " > 0 and <= 1", 1, 0),
    ],
)
def test_ends_of_a_range_belong_to_it_or_not(ends, words, inside, outside):
    assert checks.number("x", inside, **ends) == inside
    for value in (outside, float("nan"), float("inf"), float("-inf")):
        with refused(ValueError, f"x must be a finite number{words}, got {value}"):
            checks.number("x", value, **ends)


def test_an_integer_larger_than_all_floats_is_not_finite():
    with pytest.raises(ValueError, match=r"^x must be a finite number, got 1000"):
        checks.number("x", 10**400)
    assert checks.integer("n", 10**400) == 10**400


@pytest.mark.parametrize(
    "value",
    [[3, 4], (3, 4), range(3, 5), np.array([3, 4]), torch.tensor([3, 4]), torch.Size([3, 4])],
)
def test_sequences_of_integers_become_tuples(value):
    found = checks.integers("widths", value, length=2, least=3)
    assert found == (3, 4) and type(found) is tuple and {type(n) for n in found} == {int}
    assert checks.integers("widths", []) == ()


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (3, TypeError, "widths must be a sequence of 2 integers >= 1, got 3"),
        ("34", TypeError, "widths must be a sequence of 2 integers >= 1, got '34'"),
        ({3, 4}, TypeError, "widths must be a sequence of 2 integers >= 1, got {3, 4}"),
        ([3], ValueError, "widths must be a sequence of 2 integers >= 1, got [3]"),
        ([3, 4.5], TypeError, "each of widths must be an integer >= 1, got 4.5"),
        ([3, 0], ValueError, "each of widths must be an integer >= 1, got 0"),
        (
            np.eye(2),
            TypeError,
            "widths must be a sequence of 2 integers >= 1, got a float64 array of shape (2, 2)",
        ),
    ],
)
def test_what_is_no_sequence_of_integers(value, kind, message):
    with refused(kind, message):
        checks.integers("widths", value, length=2, least=1)


def test_a_shape_may_be_empty_but_not_flat():
    assert checks.shape("batch_shape", ()) == ()
    assert checks.shape("batch_shape", [2, 3]) == (2, 3)
    with refused(ValueError, "each of batch_shape must be an integer >= 1, got 0"):
        checks.shape("batch_shape", (2, 0))


# --- words, functions, sources ------------------------------------------------------------------


def test_a_choice_is_one_of_the_words():
    assert checks.choice("kind", "wide", ["square", "wide"]) == "wide"
    with refused(ValueError, 'kind must be one of "square", "wide", got \'tall\''):
        checks.choice("kind", "tall", ["square", "wide"])
    with refused(TypeError, 'kind must be one of "square", "wide", got None'):
        checks.choice("kind", None, ["square", "wide"])
    with refused(ValueError, "kind must be \"wide\", got ''"):
        checks.choice("kind", "", {"wide": 1})


def test_a_text_is_not_empty():
    assert checks.text("label", "NC1") == "NC1"
    with refused(ValueError, "label must be a string that is not empty, got ''"):
        checks.text("label", "")
    with refused(TypeError, "label must be a string, got b'NC1'"):
        checks.text("label", b"NC1")


def test_a_flag_is_nothing_but_true_or_false():
    assert checks.flag("bias", np.True_) is True and checks.flag("bias", False) is False
    for value in (0, 1, None, "yes", torch.tensor(True)):
        with pytest.raises(TypeError, match=r"^bias must be True or False, got "):
            checks.flag("bias", value)


def test_a_path_is_a_path():
    assert checks.path("root", "data/mnist") == checks.path("root", Path("data", "mnist"))
    assert checks.path("root", None) is None
    with refused(ValueError, "root must be a path that is not empty, got ''"):
        checks.path("root", "")
    with refused(TypeError, "root must be a path, got 3"):
        checks.path("root", 3)


def test_functions_can_be_called():
    assert checks.function("loss", abs) is abs
    given = {"size": abs}
    assert checks.functions("metrics", given) == given
    assert checks.functions("metrics", given) is not given
    assert checks.functions("metrics", None) == {}
    with refused(TypeError, "loss must be a function, got 'mse'"):
        checks.function("loss", "mse")
    with refused(TypeError, "metrics must be a dict from names to functions, got [3]"):
        checks.functions("metrics", [3])
    with refused(TypeError, "metrics must be a dict from names to functions, got {'b': 3}"):
        checks.functions("metrics", {"a": abs, "b": 3})
    with refused(TypeError, f"metrics must be a dict from names to functions, got {{3: {abs}}}"):
        checks.functions("metrics", {3: abs})


def test_a_seed_is_no_generator():
    generator = torch.Generator()
    assert checks.generator("generator", generator) is generator
    assert checks.generator("generator", None) is None
    with refused(TypeError, "generator must be a torch.Generator or None, got 0"):
        checks.generator("generator", 0)


def test_devices_that_torch_knows():
    assert checks.device("device", "cpu") == torch.device("cpu")
    assert checks.device("device", torch.device("meta")).type == "meta"
    assert checks.device("device", None) is None
    expected = 'device must be a device such as "cpu" or "cuda", got '
    with refused(ValueError, f"{expected}'gpu'"):
        checks.device("device", "gpu")
    with refused(TypeError, f"{expected}[]"):
        checks.device("device", [])


def test_types_are_floating():
    assert checks.dtype("dtype", torch.float16) is torch.float16
    assert checks.dtype("dtype", None) is torch.get_default_dtype()
    expected = "dtype must be a floating type such as torch.float64, got "
    with refused(ValueError, f"{expected}torch.int64"):
        checks.dtype("dtype", torch.int64)
    for value in (float, "float64", np.float64):
        with refused(TypeError, f"{expected}{value!r}"):
            checks.dtype("dtype", value)


def test_a_module_can_do_what_is_asked():
    model = nn.Linear(2, 3)
    assert checks.module("model", model, "forward", "reset_parameters") is model
    with refused(TypeError, f"model must be a torch.nn.Module, got {abs}"):
        checks.module("model", abs)
    expected = "model must be a torch.nn.Module with a method taps, features, got a module Linear"
    with refused(TypeError, expected):
        checks.module("model", model, "taps", "features")


# --- tensors ------------------------------------------------------------------------------------


def test_a_tensor_passes_as_it_is_and_an_array_shares_its_memory():
    assert checks.tensor("x", EYE, ("N", "d")) is EYE
    array = np.zeros((2, 3))
    tensor = checks.tensor("x", array, ("N", 3))
    array[0, 0] = 7
    assert tensor[0, 0] == 7 and tensor.dtype == F64


@pytest.mark.parametrize(
    "array",
    [np.arange(6.0)[::-1], np.arange(6.0).reshape(2, 3)[:, ::-1], np.broadcast_to(2.0, (2, 3))],
    ids=["backwards", "columns backwards", "read-only"],
)
def test_arrays_that_torch_cannot_share_are_copied(array):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = checks.tensor("x", array)
    assert np.array_equal(tensor.numpy(), array)
    tensor += 1
    assert not np.array_equal(tensor.numpy(), array)


@pytest.mark.parametrize(
    ("shape", "sizes", "fits"),
    [
        (None, (), True),
        (("N", "d"), (2, 3), True),
        (("N", "d"), (2,), False),
        (("N", "d"), (2, 3, 1), False),
        (("N", "d"), (2, 0), False),
        (("N", 3), (2, 3), True),
        (("N", 3), (2, 4), False),
        ((0, 3), (0, 3), True),
        (("…", "N", 3), (2, 3), True),
        (("…", "N", 3), (5, 0, 2, 3), True),
        (("…", "N", 3), (5, 2, 4), False),
        (("…", "N", 3), (3,), False),
        (("…",), (), True),
        (("…",), (2, 0), True),
        ((), (), True),
        ((), (1,), False),
    ],
)
def test_shapes_fit_by_number_letter_and_leading_dimensions(shape, sizes, fits):
    value = torch.zeros(sizes)
    if fits:
        assert checks.tensor("x", value, shape) is value
    else:
        with pytest.raises(ValueError, match=r"^x must be a floating-point tensor of shape "):
            checks.tensor("x", value, shape)


@pytest.mark.parametrize(
    ("shape", "words"),
    [(("N",), "(N,)"), (("N", 3), "(N, 3)"), (("…", 2, "d"), "(…, 2, d)"), ((), "()")],
)
def test_a_shape_is_worded_as_python_writes_it(shape, words):
    given = torch.zeros(1, 1, 1, dtype=torch.int64)
    with refused(
        ValueError,
        f"x must be a floating-point tensor of shape {words}, "
        "got an int64 tensor of shape (1, 1, 1)",
    ):
        checks.tensor("x", given, shape)


@pytest.mark.parametrize(
    ("kind", "right"),
    [
        ("floating-point", {torch.float16, torch.float32, F64}),
        ("integer", {torch.uint8, torch.int32, torch.int64}),
        ("real", {torch.float16, torch.float32, F64, torch.uint8, torch.int32, torch.int64}),
    ],
)
def test_kinds_of_entries(kind, right):
    everything = {torch.float16, torch.float32, F64, torch.uint8, torch.int32, torch.int64}
    for dtype in everything | {torch.bool, torch.complex64}:
        value = torch.ones(2, dtype=dtype)
        if dtype in right:
            assert checks.tensor("x", value, kind=kind) is value
        else:
            with pytest.raises(ValueError, match=f"^x must be an? {kind} tensor, got an? "):
                checks.tensor("x", value, kind=kind)


@pytest.mark.parametrize(
    ("value", "got"),
    [
        ([1.0, 2.0], " (torch.tensor makes one), got [1.0, 2.0]"),
        ((1.0,), " (torch.tensor makes one), got (1.0,)"),
        (None, ", got None"),
        (0.5, ", got 0.5"),
        (np.array(["a"]), ", got a <U1 array of shape (1,)"),
        (np.ones(2, ">f4"), ", got a >f4 array of shape (2,)"),
        (nn.Linear(2, 3), ", got a module Linear"),
    ],
)
def test_what_is_no_tensor(value, got):
    with refused(TypeError, f"x must be a floating-point tensor{got}"):
        checks.tensor("x", value)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_entries_must_be_finite_unless_it_does_not_matter(bad):
    value = torch.tensor([1.0, bad])
    with refused(ValueError, "x must be finite, got NaN or infinite entries"):
        checks.tensor("x", value)
    assert checks.tensor("x", value, finite=False) is value


def test_an_array_takes_the_type_of_what_it_goes_with_and_a_tensor_must_have_it():
    model = nn.Linear(2, 1)
    assert checks.tensor("x", ARRAY, like=EYE).dtype == torch.float32
    assert checks.inputs("x", ARRAY, model).dtype == torch.float32
    assert checks.inputs("x", EYE, model) is EYE
    assert checks.inputs("x", ARRAY, nn.Identity()).dtype == F64
    message = (
        "x must be of the type torch.float32 of what it goes with, got a float64 tensor of "
        "shape (2, 2)"
    )
    for check in (
        lambda: checks.tensor("x", EYE.double(), like=EYE),
        lambda: checks.inputs("x", EYE.double(), model),
    ):
        with refused(ValueError, message):
            check()
    bad = torch.full((2, 2), torch.nan)
    assert checks.inputs("x", bad, model) is bad


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_labels_of_any_integer_type_become_int64(dtype):
    value = torch.tensor([0, 2, 1], dtype=dtype)
    for given in (value, value.numpy()):
        found = checks.labels("labels", given, 3, num_classes=3)
        assert found.dtype == torch.int64 and found.tolist() == [0, 2, 1]
    assert checks.labels("labels", value[:0], 0, num_classes=3).shape == (0,)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([0, 3], "labels must lie in 0 .. 2, got 0 .. 3"),
        ([-1, 2], "labels must lie in 0 .. 2, got -1 .. 2"),
        ([0], "labels must be an integer tensor of shape (2,), got an int64 tensor of shape (1,)"),
        (
            [0.0, 1.0],
            "labels must be an integer tensor of shape (2,), got a float32 tensor of shape (2,)",
        ),
        (
            [True, False],
            "labels must be an integer tensor of shape (2,), got a bool tensor of shape (2,)",
        ),
    ],
)
def test_labels_that_do_not_fit(value, message):
    with refused(ValueError, message):
        checks.labels("labels", torch.tensor(value), 2, num_classes=3)


def test_labels_without_a_number_of_classes_may_be_any():
    assert checks.labels("labels", torch.tensor([-1, 100]), 2).tolist() == [-1, 100]


def test_features_and_labels_that_fit():
    features, labels = checks.labelled("x", ARRAY, np.array([1, 0], np.uint8), 2, 2)
    assert features.tolist() == [[1, 0], [0, 1]] and labels.dtype == torch.int64
    bad = torch.full((2, 3), torch.nan)
    assert checks.labelled("x", bad, torch.tensor([0, 9]))[0] is bad


@pytest.mark.parametrize(
    ("features", "labels", "options", "kind", "message"),
    [
        (
            torch.zeros(2),
            [0, 1],
            {},
            ValueError,
            "x must be a floating-point tensor of shape (N, d)",
        ),
        (
            torch.zeros(0, 2),
            [],
            {},
            ValueError,
            "x must be a floating-point tensor of shape (N, d)",
        ),
        (EYE, [0, 1], {"dim": 3}, ValueError, "x must be a floating-point tensor of shape (N, 3)"),
        (EYE, [0], {}, ValueError, "labels must be an integer tensor of shape (2,)"),
        (EYE, [0, -1], {}, ValueError, "labels must not be negative, got -1"),
        (EYE, [0, 2], {"num_classes": 2}, ValueError, "labels must lie in 0 .. 1, got 0 .. 2"),
        (EYE, [0, 0], {"num_classes": 1}, ValueError, "num_classes must be an integer >= 2, got 1"),
        (EYE, [0, 0], {"num_classes": 2.0}, TypeError, "num_classes must be an integer >= 2"),
    ],
)
def test_features_and_labels_that_do_not_fit(features, labels, options, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        checks.labelled("x", features, torch.tensor(labels, dtype=torch.int64), **options)

"""Docstrings say what a function takes and gives, in numpydoc's sections and in its order."""

import dataclasses
import importlib
import inspect
import pkgutil
import types

import pytest
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate

import lecturelib

# Of numpydoc's errors all count but these.
IGNORED = {
    "ES01": "a summary may say it all",
    "EX01": "examples are asked for below, of what is public",
    "PR04": "a group of parameters may refer to another function, which has their types",
    "PR08": "a description may begin with a letter of a formula",
    "RT02": "several results may share a line, as parameters do",
    "RT03": "a type and a shape may say it all",
    "RT04": "a description may begin with a letter of a formula",
    "SA01": "references between functions stand in sentences",
    "YD01": "a context manager says in its summary what holds within its block",
}
MODULES = [module.name for module in pkgutil.iter_modules(lecturelib.__path__, "lecturelib.")]
METHODS = (types.FunctionType, classmethod, staticmethod, property)


def public(module):
    """Functions and classes that a module exports or defines, with their methods, by name."""
    loaded = importlib.import_module(module)
    for name, thing in vars(loaded).items():
        own = not name.startswith("_") and getattr(thing, "__module__", None) == module
        if not callable(thing) or not (own or name in loaded.__all__):
            continue
        yield f"{module}.{name}", thing
        if inspect.isclass(thing):
            for inner, method in vars(thing).items():
                if not inner.startswith("_") and isinstance(method, METHODS):
                    yield f"{module}.{name}.{inner}", method


def is_result(thing):
    """Say whether it is a class that callers do not make: then its attributes are described."""
    return dataclasses.is_dataclass(thing) and bool(sections(thing)["Attributes"])


def sections(thing):
    return NumpyDocString(inspect.getdoc(thing))


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_have_the_sections_of_numpydoc(module):
    found = []
    for name, thing in public(module):
        ignored = set(IGNORED)
        if is_result(thing):
            ignored |= {"PR01"}
        if "." in name.removeprefix(f"{module}.") and "----" not in inspect.getdoc(thing):
            ignored |= {"PR01", "RT01"}  # a method without sections says all in its sentences
        errors = validate(name)["errors"]
        found += [f"{name}: {code} {text}" for code, text in errors if code not in ignored]
    assert found == []


@pytest.mark.parametrize("module", MODULES)
def test_results_describe_every_attribute_in_order(module):
    for name, thing in public(module):
        if is_result(thing):
            entries = [entry.name for entry in sections(thing)["Attributes"]]
            described = [word for names in entries for word in names.split(", ")]
            assert described == [field.name for field in dataclasses.fields(thing)], name


@pytest.mark.parametrize("module", MODULES)
def test_what_a_module_exports_has_an_example(module):
    loaded = importlib.import_module(module)
    for name in loaded.__all__:
        thing = getattr(loaded, name)
        exempt = is_result(thing) or (inspect.isclass(thing) and issubclass(thing, Exception))
        assert exempt or not callable(thing) or sections(thing)["Examples"], name

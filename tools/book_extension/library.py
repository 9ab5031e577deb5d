"""The pages of the library: what of a module they show."""


def skip_constants_and_imports(app, what, name, obj, skip, options):
    """Leave out of the API pages module constants, whose values are long, and what is imported.

    What a package imports from its own inner modules is not foreign to it.
    """
    foreign = getattr(obj, "imported", False)
    if foreign:
        package = obj.id.rpartition(".")[0]
        foreign = not obj.obj["original_path"].startswith(f"{package}.")
    return skip or foreign or getattr(obj, "type", None) == "data"


def setup(app):
    """Register with Sphinx."""
    app.connect("autodoc-skip-member", skip_constants_and_imports)

"""Slider figures: every frame drawn beforehand, one slider per parameter."""

import itertools
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from html import escape
from numbers import Integral, Real

import numpy as np
from matplotlib.figure import Figure

from lecturelib import checks
from lecturelib.explore.page import checked_caption, checked_name, figure_html
from lecturelib.explore.pictures import (
    BYTES_PER_FRAME,
    DENSITIES,
    PALETTES,
    called,
    encode,
    encode_within,
    image_html,
    render,
)


def explore(
    draw: Callable[..., Figure],
    *,
    name: str,
    alt: str | Callable[..., str],
    caption: str = "",
    labels: Mapping[str, str] | None = None,
    start: Mapping[str, float | str] | None = None,
    play: str | None = None,
    live: bool = False,
    budget: int = 300_000,
    **parameters: Sequence,
) -> None:
    """Display a figure with one slider for each parameter.

    Parameters
    ----------
    draw : callable
        Called with one keyword argument per parameter; returns a new matplotlib Figure, of one
        size for all values. The figure is closed afterwards.
    name : str
        Names the figure on its page: lowercase letters, digits and single hyphens. The id of the
        figure is ``explore-NAME``.
    alt : str or callable
        What the figure shows, for those who cannot see it. To a string the values of the sliders
        are added; a function is called as `draw` is and returns the text of a frame, which screen
        readers speak when the reader stays there. It becomes part of the stored output: what other
        machines may measure otherwise stands in marks, ``⟨0.03⟩``, which no reader sees.
    caption : str, optional
        Text below the sliders; ``$…$`` is mathematics.
    labels : mapping of str to str, optional
        What readers see in place of a parameter's name, with its unit: ``{"t": "Time (s)"}``.
    start : mapping of str to value, optional
        Values shown at first, one of each list. Default: the first of each list.
    play : str, optional
        The parameter that is time, or like it: a button lets it run from one value to the next.
        Ignored with ``live``.
    live : bool, optional
        Use ipywidgets, which need a kernel, and draw for any value from the smallest to the
        largest one listed. Default: draw all frames now, for a page without a kernel.
    budget : int, optional
        Bytes of html above which a ``UserWarning`` is given; fewer bytes mean coarser frames.
        Ignored with ``live``.
    **parameters : list or ndarray
        For each parameter its values, all finite numbers or all strings. All combinations are
        drawn, the last parameter varying fastest.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the figures that are drawn differ in size.
    ImportError
        If ``live`` is asked for and ipywidgets is missing.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> def draw(degree):
    ...     fig, ax = plt.subplots(figsize=(3, 2))
    ...     x = np.linspace(0, 1)
    ...     ax.plot(x, x**degree)
    ...     return fig
    >>> explore(draw, name="powers", alt="A power of x, from 0 to 1", degree=[1, 2, 3])
    <IPython.core.display.HTML object>
    """
    from IPython.display import HTML, display

    options = {"name": name, "alt": alt, "caption": caption, "labels": labels, "start": start}
    if checks.flag("live", live):
        display(_live_box(draw, **options, parameters=parameters))
    else:
        display(HTML(explore_html(draw, **options, play=play, budget=budget, **parameters)))


def explore_html(
    draw: Callable[..., Figure],
    *,
    name: str,
    alt: str | Callable[..., str],
    caption: str = "",
    labels: Mapping[str, str] | None = None,
    start: Mapping[str, float | str] | None = None,
    play: str | None = None,
    budget: int = 300_000,
    **parameters: Sequence,
) -> str:
    """Return the self-contained html that :func:`explore` displays.

    Parameters
    ----------
    draw, name, alt, caption, labels, start, play, budget, **parameters
        As in :func:`explore`.

    Returns
    -------
    str
        A ``figure`` element. Without JavaScript it shows the start frame and no sliders.

    Raises
    ------
    TypeError, ValueError
        As :func:`explore`.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> def draw(degree):
    ...     fig, ax = plt.subplots(figsize=(3, 2))
    ...     ax.set_title(f"Degree {degree}")
    ...     return fig
    >>> html = explore_html(draw, name="powers", alt="A power of x", degree=[1, 2, 3])
    >>> 'id="explore-powers"' in html, html.count('<input type="range"')
    (True, 1)
    >>> html.count("data:image/webp;base64,")  # three frames, and the first in the page itself
    4
    """
    labels, start, parameters = _checked(draw, name, alt, caption, labels, start, parameters)
    budget = checks.integer("budget", budget, least=1)
    if play is not None:
        checks.choice("play", play, parameters)

    combinations = [
        dict(zip(parameters, values, strict=True))
        for values in itertools.product(*parameters.values())
    ]
    density = float(np.clip(budget / (BYTES_PER_FRAME * len(combinations)), *DENSITIES))
    images = [render(draw, values, density) for values in combinations]
    sizes = {image.size for image in images}
    if len(sizes) > 1:
        raise ValueError(f"draw must return figures of one size, got {sorted(sizes)} pixels")
    uris = encode_within(images, 0.9 * budget)
    alts = [_alt_text(alt, labels, values) for values in combinations]
    first = combinations.index(start)

    lines = [
        image_html(uris[first], alts[first], images[0].size, density),
        '<div class="explore-controls" hidden>',
        *(
            _slider_html(parameter, labels[parameter], values, values.index(start[parameter]))
            for parameter, values in parameters.items()
        ),
        *([_button_html(play, labels[play])] if play else []),
        "</div>",
        '<p class="explore-spoken" role="status"></p>',
        f"<noscript>Without JavaScript this figure stays at {escape(_state(labels, start))}."
        "</noscript>",
    ]
    data = {
        "texts": [[_text(value) for value in values] for values in parameters.values()],
        "alts": alts,
        "spoken": callable(alt),  # else a frame says no more than its sliders, which speak already
        "frames": uris,
    }
    html = figure_html("frames", name, caption, lines, data)
    if len(html.encode()) > budget:
        warnings.warn(
            f"interactive figure {name!r} takes {len(html.encode()):,} bytes, more than its budget "
            f"of {budget:,}: list fewer values, draw a smaller figure or raise the budget",
            UserWarning,
            stacklevel=2,
        )
    return html


def _checked(draw, name, alt, caption, labels, start, parameters) -> tuple[dict, dict, dict]:
    """Return labels, start values and parameters in full, or say what is wrong."""
    checks.function("draw", draw)
    checked_name(name)
    if not callable(alt):
        checks.text("alt", alt)
    checked_caption(caption)
    if not parameters:
        raise ValueError("parameters must be one or more, as in epoch=[0, 1, 2], got none")
    parameters = {name: _values(name, values) for name, values in parameters.items()}
    labels, start = _given("labels", labels, parameters), _given("start", start, parameters)
    for parameter, label in labels.items():
        checks.text(f"labels[{parameter!r}]", label)
    labels = {parameter: parameter for parameter in parameters} | labels
    start = {parameter: values[0] for parameter, values in parameters.items()} | start
    for parameter, value in start.items():
        if not isinstance(value, Real | str) or value not in parameters[parameter]:
            expected = f"one of {parameters[parameter]}"
            raise checks.wrong(f"start[{parameter!r}]", expected, value)
    return (
        {parameter: labels[parameter] for parameter in parameters},
        {parameter: start[parameter] for parameter in parameters},
        parameters,
    )


def _given(name, value, parameters) -> dict:
    """Return a mapping from some of the parameters; None is the empty one."""
    value = {} if value is None else value
    if not isinstance(value, Mapping):
        raise checks.wrong(name, "a dict with names of parameters", value, TypeError)
    if unknown := [key for key in value if key not in parameters]:
        raise checks.wrong(name, f"a dict with names of {list(parameters)}", unknown)
    return dict(value)


def _values(parameter, values) -> list:
    values = values.tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(values, list | tuple | range):
        raise checks.wrong(parameter, "a list of values", values, TypeError)
    if len(values) == 0:
        raise checks.wrong(parameter, "a list of one value or more", values)
    if not all(isinstance(value, str) for value in values) and not all(map(_finite, values)):
        raise checks.wrong(parameter, "a list of finite numbers only, or of strings only", values)
    return list(values)


def _finite(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _text(value) -> str:
    """Write a value as readers see it: four digits of a float, all of an integer."""
    return (
        f"{value:.4g}"
        if isinstance(value, Real) and not isinstance(value, Integral)
        else f"{value}"
    )


def _state(labels: dict, values: dict) -> str:
    return ", ".join(f"{labels[parameter]}: {_text(values[parameter])}" for parameter in labels)


def _alt_text(alt, labels: dict, values: dict) -> str:
    if not callable(alt):
        return f"{alt} ({_state(labels, values)})"
    return checks.text("alt", called("alt", alt, values))


def _slider_html(parameter: str, label: str, values: list, start: int) -> str:
    # The label encloses its input: an id to point at would be there twice when one figure is shown
    # twice. The output is silent because screen readers already speak the slider's aria-valuetext.
    text = escape(_text(values[start]))
    longest = min(12, max(len(_text(value)) for value in values))
    return (
        f'<label><span>{escape(label)}</span><input type="range" name="{escape(parameter)}" '
        f'min="0" max="{len(values) - 1}" step="1" value="{start}" autocomplete="off" '
        f'aria-valuetext="{text}"></label>'
        f'<output aria-live="off" style="min-width: {longest}ch">{text}</output>'
    )


def _button_html(parameter: str, label: str) -> str:
    return (
        f'<button type="button" class="explore-play" data-parameter="{escape(parameter)}" '
        f'data-label="{escape(label)}" aria-label="Play {escape(label)}">Play</button>'
    )


def _live_box(draw, *, name, alt, caption, labels, start, parameters):
    """Return a VBox of ipywidgets (7.7 or newer) that draws on demand."""
    try:
        import ipywidgets as widgets
    except ImportError as error:
        raise ImportError(
            "explore(live=True) needs ipywidgets: pip install ipywidgets, or leave out live=True"
        ) from error
    from IPython.display import HTML, display

    labels, start, parameters = _checked(draw, name, alt, caption, labels, start, parameters)

    def slider(parameter, values):
        common = {
            "value": start[parameter],
            "description": labels[parameter],
            "continuous_update": False,
            "style": {"description_width": "initial"},
            "layout": {"width": "min(100%, 40rem)"},
        }
        if isinstance(values[0], str):
            return widgets.SelectionSlider(options=list(values), **common)
        low, high = min(values), max(values)
        if all(isinstance(value, Integral) for value in values):
            return widgets.IntSlider(min=low, max=high, **common)
        step = (high - low) / 100 or 1.0
        return widgets.FloatSlider(min=low, max=high, step=step, readout_format=".4g", **common)

    def show(**values):
        density = max(DENSITIES)
        image = render(draw, values, density)
        uri = encode(image, max(PALETTES))
        text = re.sub("[⟨⟩]", "", _alt_text(alt, labels, values))
        display(HTML(image_html(uri, text, image.size, density)))

    controls = {parameter: slider(parameter, values) for parameter, values in parameters.items()}
    picture = widgets.interactive_output(show, controls)
    below = [widgets.HTML(f"<p>{escape(caption)}</p>")] if caption else []
    return widgets.VBox([*controls.values(), picture, *below])

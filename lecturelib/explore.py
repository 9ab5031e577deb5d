"""Interactive figures: one call, one slider per parameter, readable with or without a kernel.

:func:`explore` draws every frame beforehand and shows them in one piece of html whose few lines of
JavaScript swap the pictures, so that the sliders also work on a static page. With ``live=True`` the
same call gives ipywidgets that draw anew for any value between the listed ones.

Stored outputs are compared exactly (nbval), with data URIs blanked. The html therefore depends on
the arguments and on the figure size only; whatever depends on pixels lives inside the data URIs.
"""

import base64
import io
import itertools
import json
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from numbers import Integral, Real

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from lecturelib import checks

__all__ = ["explore", "explore_html"]

CSS_PIXELS_PER_INCH = 100

# Lines and text at 640 x 400 CSS pixels take about 11 kB of base64 x density in 24 colours, so that
# 15 frames fit the default budget at density 2 (sharp on any screen) and 30 at 1.25 (a little soft
# on phones). Lossless WebP is a quarter smaller than PNG; lossy WebP of that size blurs text.
BYTES_PER_FRAME = 13_000
DENSITIES = 1.25, 2.0
PALETTES = 256, 64, 24, 16  # heat maps need the first and stay small; lines look well in the last

STYLE = """
.explore { margin: 0 0 1rem; max-width: 100%; }
.explore img { display: block; max-width: 100%; height: auto; margin: 0; padding: 0;
  background: white; border-radius: 4px; }
.explore-controls:not([hidden]) { display: grid; align-items: center; gap: 0.25rem 0.75rem;
  grid-template-columns: minmax(0, max-content) minmax(7rem, 1fr) minmax(0, max-content);
  max-width: 40rem; margin-top: 0.5rem; color: inherit; }
.explore-controls label { display: grid; grid-template-columns: subgrid; grid-column: span 2;
  align-items: center; margin: 0; }
.explore-controls input { width: 100%; min-width: 0; height: 1.75rem; margin: 0;
  cursor: pointer; accent-color: var(--pst-color-primary, #3b82f6); }
.explore-controls input:focus-visible { outline: 2px solid currentColor; border-radius: 4px; }
.explore-controls output { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.explore figcaption { margin-top: 0.5rem; font-size: 0.9em; color: inherit; }
@media (max-width: 30rem) {
  .explore-controls:not([hidden]) {
    grid-template-columns: minmax(7rem, 1fr) fit-content(40%); }
  .explore-controls label { grid-template-columns: 1fr; grid-column: auto; row-gap: 0.25rem; }
  .explore-controls output { align-self: end; padding-bottom: 0.2rem; }
}
"""

# Jupyter and Colab insert outputs in their own ways, where document.currentScript is null or
# elsewhere; so the script looks for every figure that has no sliders yet.
SCRIPT = """
(() => {
  for (const root of document.querySelectorAll("figure[data-explore]")) {
    const data = root.querySelector('script[type="application/json"]');
    if (root.exploreReady || !data) continue;
    root.exploreReady = true;
    const { texts, alts, frames } = JSON.parse(data.textContent);
    const image = root.querySelector("img");
    const sliders = root.querySelectorAll("input");
    const outputs = root.querySelectorAll("output");
    const show = () => {
      let frame = 0;
      sliders.forEach((slider, i) => {
        const text = texts[i][slider.value];
        slider.setAttribute("aria-valuetext", text);
        outputs[i].textContent = text;
        frame = frame * texts[i].length + Number(slider.value);
      });
      image.src = frames[frame];
      image.alt = alts[frame];
    };
    root.addEventListener("input", show);
    root.querySelector(".explore-controls").hidden = false;
  }
})();
"""


def explore(
    draw: Callable[..., Figure],
    *,
    name: str,
    alt: str | Callable[..., str],
    caption: str = "",
    labels: Mapping[str, str] | None = None,
    start: Mapping[str, float | str] | None = None,
    live: bool = False,
    budget: int = 400_000,
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
        are added; a function is called as `draw` is and returns the text (it becomes part of the
        stored output: round measured numbers well).
    caption : str, optional
        Text below the sliders.
    labels : mapping of str to str, optional
        What readers see in place of a parameter's name, with its unit: ``{"t": "Time (s)"}``.
    start : mapping of str to value, optional
        Values shown at first, one of each list. Default: the first of each list.
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
        display(HTML(explore_html(draw, **options, budget=budget, **parameters)))


def explore_html(
    draw: Callable[..., Figure],
    *,
    name: str,
    alt: str | Callable[..., str],
    caption: str = "",
    labels: Mapping[str, str] | None = None,
    start: Mapping[str, float | str] | None = None,
    budget: int = 400_000,
    **parameters: Sequence,
) -> str:
    """Return the self-contained html that :func:`explore` displays.

    Parameters
    ----------
    draw, name, alt, caption, labels, start, budget, **parameters
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

    combinations = [
        dict(zip(parameters, values, strict=True))
        for values in itertools.product(*parameters.values())
    ]
    density = float(np.clip(budget / (BYTES_PER_FRAME * len(combinations)), *DENSITIES))
    images = [_render(draw, values, density) for values in combinations]
    sizes = {image.size for image in images}
    if len(sizes) > 1:
        raise ValueError(f"draw must return figures of one size, got {sorted(sizes)} pixels")
    uris = _encode_within(images, 0.9 * budget)
    alts = [_alt_text(alt, labels, values) for values in combinations]
    first = combinations.index(start)

    texts = [[_text(value) for value in values] for values in parameters.values()]
    data = json.dumps({"texts": texts, "alts": alts, "frames": uris})
    data = data.replace("<", "\\u003c")  # a text with "</script>" must not end the element
    rows = [
        _slider_html(parameter, labels[parameter], values, values.index(start[parameter]))
        for parameter, values in parameters.items()
    ]
    lines = [
        f'<figure class="explore" id="explore-{name}" data-explore="{name}">',
        f"<style>{STYLE}</style>",
        _image_html(uris[first], alts[first], images[0].size, density),
        '<div class="explore-controls" hidden>',
        *rows,
        "</div>",
        f"<noscript>Without JavaScript this figure stays at {escape(_state(labels, start))}."
        "</noscript>",
        *([f"<figcaption>{escape(caption)}</figcaption>"] if caption else []),
        f'<script type="application/json">{data}</script>',
        f"<script>{SCRIPT}</script>",
        "</figure>",
    ]
    html = "\n".join(lines)
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
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", checks.text("name", name)):
        expected = "lowercase letters and digits, joined by single hyphens"
        raise checks.wrong("name", expected, name)
    if not callable(alt):
        checks.text("alt", alt)
    if not isinstance(caption, str):
        raise checks.wrong("caption", "a string", caption, TypeError)
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
    return checks.text("alt", _called("alt", alt, values))


def _called(name, function, values: dict):
    """Call what was given for an argument with the values of the sliders."""
    try:
        return function(**values)
    except TypeError as error:
        message = f"{name} must be a function of {', '.join(values)}, but: {error}"
        raise TypeError(message) from error


@contextmanager
def _closing_new_figures():
    before = set(plt.get_fignums())
    try:
        yield
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)


def _render(draw, values: dict, density: float) -> Image.Image:
    """Draw one frame on white, whatever style is in use, and close its figure."""
    with _closing_new_figures():
        figure = _called("draw", draw, values)
        if not isinstance(figure, Figure):
            expected = "a function that returns a matplotlib Figure (end it with `return fig`)"
            raise checks.wrong("draw", expected, figure, TypeError)
        png = io.BytesIO()
        figure.savefig(
            png,
            format="png",
            dpi=density * CSS_PIXELS_PER_INCH,
            facecolor="white",
            transparent=False,
            bbox_inches=figure.bbox_inches,  # never "tight": all frames keep one size
        )
        plt.close(figure)  # also a figure that was open before and is drawn anew for each frame
    return Image.open(png).convert("RGB")


def _encode(image: Image.Image, colours: int) -> str:
    """Return a frame as the data URI of a lossless WebP with a palette."""
    palette = image.quantize(
        colours, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE
    )
    # The palette's white is an average with its near greys.
    whitened = palette.convert("RGB").point(lambda level: 255 if level >= 251 else level)
    webp = io.BytesIO()
    whitened.save(webp, format="WEBP", lossless=True, quality=80, method=4)
    return "data:image/webp;base64," + base64.b64encode(webp.getvalue()).decode()


def _encode_within(images: list, size: float) -> list[str]:
    """Encode frames in the largest palette with which they should fit `size` bytes, else the least.

    A few frames, evenly spaced, are tried instead of all: encoding takes as long as drawing.
    """
    sample = images[:: math.ceil(len(images) / 4)]
    room = size * len(sample) / len(images)
    for colours in PALETTES:
        if sum(len(_encode(image, colours)) for image in sample) <= room:
            break
    return [_encode(image, colours) for image in images]


def _image_html(uri: str, alt: str, size: tuple[int, int], density: float) -> str:
    width, height = (round(pixels / density) for pixels in size)
    return f'<img src="{uri}" alt="{escape(alt)}" width="{width}" height="{height}">'


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
        image = _render(draw, values, density)
        uri = _encode(image, max(PALETTES))
        text = _alt_text(alt, labels, values)
        display(HTML(_image_html(uri, text, image.size, density)))

    controls = {parameter: slider(parameter, values) for parameter, values in parameters.items()}
    picture = widgets.interactive_output(show, controls)
    below = [widgets.HTML(f"<p>{escape(caption)}</p>")] if caption else []
    return widgets.VBox([*controls.values(), picture, *below])

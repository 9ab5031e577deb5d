"""Slider figures: the html, what is refused, in a notebook."""

import base64
import io
import re
import sys
import warnings

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from explore.cases import DATA_URI, draw, make, stored
from PIL import Image

from lecturelib.explore import explore, explore_html


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))


# --- the html -------------------------------------------------------------------------------------


def test_the_same_call_gives_the_same_html():
    assert make() == make()


def test_apart_from_data_uris_the_html_does_not_depend_on_pixels():
    def noisy(epoch):
        fig, ax = plt.subplots(figsize=(3, 2))
        ax.imshow(np.random.default_rng(epoch).normal(size=(40, 60)))
        return fig

    def always_the_same(epoch):
        return draw(1)

    plain, other = make(), make(lambda epoch: draw(epoch, colour="#d62829"))
    assert plain != other
    for html in (other, make(noisy), make(always_the_same)):
        assert DATA_URI.sub("", html) == DATA_URI.sub("", plain)


def test_every_data_uri_is_of_the_form_that_is_blanked():
    html = make()
    assert len(DATA_URI.findall(html)) == html.count("data:") == 4


def test_frames_are_in_product_order_with_the_last_parameter_fastest():
    seen = []

    def record(**values):
        seen.append((values["epoch"], values["noise"]))
        return draw(**values)

    html = make(record, epoch=[0, 4], noise=[0.0, 2.0, 4.0])
    assert seen == [(0, 0.0), (0, 2.0), (0, 4.0), (4, 0.0), (4, 2.0), (4, 4.0)]
    data = stored(html)
    assert data["texts"] == [["0", "4"], ["0", "2", "4"]]
    assert data["alts"][4] == "A line (epoch: 4, noise: 2)"
    assert len(set(data["frames"])) == 6


def test_start_frame_is_what_shows_first():
    html = make(epoch=[0, 1], noise=[0.0, 2.0], start={"noise": 2.0}, labels={"noise": "Noise σ"})
    data = stored(html)
    tag = re.search(r"<img [^>]*>", html)[0]
    assert f'src="{data["frames"][1]}"' in tag
    assert 'alt="A line (epoch: 0, Noise σ: 2)"' in tag
    assert re.findall(r' value="(\d)"', html) == ["0", "1"]


def test_size_is_that_of_the_figure_and_frames_are_coarser_where_the_budget_is_small():
    large, small = make(), make(budget=40_000)
    for html in (large, small):
        assert 'width="300" height="200"' in html
    assert pixels(stored(large)["frames"][0]).shape == (400, 600, 3)
    assert pixels(stored(small)["frames"][0]).shape == (250, 375, 3)


@pytest.mark.parametrize(
    "style", [{}, {"figure.facecolor": (1, 1, 1, 0)}, {"savefig.transparent": True}]
)
def test_frames_are_white_panels_of_one_size_in_any_style(style):
    with plt.rc_context({"savefig.bbox": "tight", **style}):
        frame = pixels(stored(make())["frames"][0])
    assert frame.shape == (400, 600, 3)
    assert (frame[:5] == 255).all() and (frame[:, -5:] == 255).all()


def test_colours_survive_the_palette():
    with pytest.warns(UserWarning, match="budget"):  # which leaves the smallest palette
        html = make(lambda epoch: draw(epoch, colour="tab:red"), budget=1)
    frame = pixels(stored(html)["frames"][0])
    assert np.abs(frame.astype(int) - (214, 39, 40)).max(axis=-1).min() <= 6


def test_ids_derive_from_the_name_alone():
    assert re.findall(r'\bid="([^"]*)"', make(name="nc1-against-noise")) == [
        "explore-nc1-against-noise"
    ]


def test_what_the_user_gives_is_escaped():
    evil = '</script><b title="x">&'
    html = make(
        lambda epoch: draw(0),
        alt=evil,
        caption=evil,
        labels={"epoch": evil},
        epoch=[evil, "harmless"],
    )
    assert "<b" not in html
    assert html.count("</script>") == 2
    assert stored(html)["texts"] == [[evil, "harmless"]]


def test_nothing_external_and_no_inline_handlers():
    html = DATA_URI.sub("", make(caption="Text", epoch=[0, 1]))
    assert "http" not in html and "url(" not in html and "@import" not in html
    assert not re.search(r"\son\w+=", html)


def test_alt_may_be_a_function_of_the_values():
    html = make(alt=lambda epoch: f"rises to {epoch}")
    assert stored(html)["alts"] == ["rises to 0", "rises to 1", "rises to 2"]


def test_measured_numbers_are_marked_in_what_is_stored():
    """Then nbval masks them: what another machine measures is no difference."""
    sanitizer = re.compile("\u27e8[^\u27e9]*\u27e9")
    first, second = (make(alt=lambda epoch, x=x: f"D is ⟨{x}⟩") for x in (0.03, 0.031))
    assert first != second and sanitizer.sub("", first) == sanitizer.sub("", second)


def test_values_are_written_briefly():
    assert stored(make(epoch=[0.1 + 0.2, 1e-5, 2.0, np.float64(1 / 3)]))["texts"] == [
        ["0.3", "1e-05", "2", "0.3333"]
    ]
    assert stored(make(epoch=[1234567, np.int64(3)]))["texts"] == [["1234567", "3"]]


def test_ordinary_figures_stay_within_the_budget():
    def scatter(epoch):
        fig = plt.figure(figsize=(6.4, 4))
        ax = fig.add_subplot(projection="3d")
        ax.scatter([1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1], c=range(4), s=60)
        ax.view_init(20, 3 * epoch)
        return fig

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        html = make(scatter, epoch=list(range(18)))
    assert len(html) < 300_000


def test_a_figure_above_its_budget_warns_with_both_sizes():
    with pytest.warns(UserWarning, match=r"'demo' takes [\d,]+ bytes.* budget of 1,000"):
        make(epoch=[0, 1], budget=1_000)


# --- errors and tidiness --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["NC1", "a b", "a--b", "-a", "1a", 'a"', "a_b", "a\n"])
def test_bad_names_are_refused(name):
    with pytest.raises(ValueError, match="name must be lowercase letters and digits, joined by"):
        make(name=name)


LIST = "epoch must be a list of "


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"name": ""}, ValueError, "name must be a string that is not empty, got ''"),
        ({"name": None}, TypeError, "name must be a string, got None"),
        ({"epoch": []}, ValueError, f"{LIST}one value or more, got []"),
        ({"epoch": np.zeros(0)}, ValueError, f"{LIST}one value or more, got []"),
        ({"epoch": 3}, TypeError, f"{LIST}values, got 3"),
        ({"epoch": np.array(3)}, TypeError, f"{LIST}values, got 3"),
        ({"epoch": "abc"}, TypeError, f"{LIST}values, got 'abc'"),
        ({"epoch": [0.0, float("nan")]}, ValueError, f"{LIST}finite numbers only, or of strings"),
        ({"epoch": [0.0, float("inf")]}, ValueError, f"{LIST}finite numbers only, or of strings"),
        ({"epoch": np.eye(2)}, ValueError, f"{LIST}finite numbers only, or of strings"),
        ({"epoch": [0, "a"]}, ValueError, f"{LIST}finite numbers only, or of strings"),
        ({"epoch": [True, False]}, ValueError, f"{LIST}finite numbers only, or of strings"),
        ({"start": {"epoch": 3}}, ValueError, "start['epoch'] must be one of [0, 1, 2], got 3"),
        ({"start": {"epoch": [0]}}, ValueError, "start['epoch'] must be one of [0, 1, 2], got [0]"),
        (
            {"start": {"t": 2}},
            ValueError,
            "start must be a dict with names of ['epoch'], got ['t']",
        ),
        ({"start": 2}, TypeError, "start must be a dict with names of parameters, got 2"),
        ({"labels": {"t": "T"}}, ValueError, "labels must be a dict with names of ['epoch'], got"),
        ({"labels": {"epoch": 3}}, TypeError, "labels['epoch'] must be a string, got 3"),
        ({"labels": "Epoch"}, TypeError, "labels must be a dict with names of parameters, got"),
        ({"alt": ""}, ValueError, "alt must be a string that is not empty, got ''"),
        ({"alt": 3}, TypeError, "alt must be a string, got 3"),
        ({"alt": lambda epoch: epoch}, TypeError, "alt must be a string, got 0"),
        ({"alt": lambda t: "A line"}, TypeError, "alt must be a function of epoch, but: "),
        ({"caption": None}, TypeError, "caption must be a string, got None"),
        ({"play": "t"}, ValueError, 'play must be "epoch", got'),
        ({"play": 3}, TypeError, "play must be "),
        ({"budget": 0}, ValueError, "budget must be an integer >= 1, got 0"),
        ({"draw": "line"}, TypeError, "draw must be a function, got 'line'"),
        ({"draw": lambda t: plt.figure()}, TypeError, "draw must be a function of epoch, but: "),
        ({"draw": lambda epoch: None}, TypeError, "draw must be a function that returns a matplot"),
    ],
)
def test_bad_arguments_are_refused(arguments, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        make(**arguments)


def test_no_parameters():
    with pytest.raises(ValueError, match="parameters must be one or more, as in epoch="):
        explore_html(draw, name="demo", alt="A line")


def test_frames_of_different_size_are_refused():
    with pytest.raises(ValueError, match="draw must return figures of one size, got"):
        make(lambda epoch: plt.figure(figsize=(2 + epoch, 2)))


def test_values_may_be_an_array():
    assert make(epoch=np.linspace(0, 1, 3)) == make(epoch=[0.0, 0.5, 1.0])
    assert make(epoch=np.arange(3)) == make(epoch=[0, 1, 2]) == make(epoch=range(3))


def test_figures_are_closed_and_earlier_ones_stay():
    mine = plt.figure()
    before = plt.get_fignums()

    def failing(epoch):
        draw(epoch)
        if epoch == 1:
            raise RuntimeError("no convergence")
        return draw(epoch)

    make()
    make(lambda epoch: matplotlib.figure.Figure(figsize=(2, 2)))
    with pytest.raises(RuntimeError, match="no convergence"):
        make(failing)
    assert plt.get_fignums() == before
    plt.close(mine)


def test_one_figure_drawn_anew_for_each_frame_is_closed_too():
    fig, ax = plt.subplots(figsize=(2, 2))

    def redraw(epoch):
        ax.set_title(epoch)
        return fig

    assert len(set(stored(make(redraw))["frames"])) == 3
    assert not plt.fignum_exists(fig.number)


# --- in a notebook --------------------------------------------------------------------------------


def test_explore_displays_one_output(displayed):
    assert explore(draw, name="demo", alt="A line", epoch=[0, 1, 2]) is None
    (output,) = displayed
    assert output.data == make()


def test_a_cell_has_one_output_in_a_real_kernel():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    source = """
    %matplotlib inline
    import matplotlib.pyplot as plt
    from lecturelib.explore import explore
    def draw(t):
        fig, ax = plt.subplots(figsize=(2, 2))
        return fig
    """
    call = "explore(draw, name='demo', alt='Axes', t=[0.0, 1.0], live={})"
    cells = [
        nbformat.v4.new_code_cell(text)
        for text in (re.sub("^    ", "", source, flags=re.M), call.format(False), call.format(True))
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    first, static, live = (cell.outputs for cell in notebook.cells)
    assert first == []
    assert [sorted(output.data) for output in static] == [["text/html", "text/plain"]]
    assert [sorted(output.data) for output in live] == [
        ["application/vnd.jupyter.widget-view+json", "text/plain"]
    ]
    states = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    (picture,) = [s["state"] for s in states.values() if s["model_name"] == "OutputModel"]
    assert [sorted(output["data"]) for output in picture["outputs"]] == [
        ["text/html", "text/plain"]
    ]


def test_live_sliders_draw_values_between_the_listed_ones(displayed):
    widgets = pytest.importorskip("ipywidgets")
    seen = []

    def record(**values):
        seen.append(values)
        return draw(values["epoch"], values["noise"])

    explore(
        record,
        name="demo",
        alt="A line",
        caption="A <caption>",
        labels={"noise": "Noise"},
        start={"epoch": 10},
        live=True,
        epoch=[0, 5, 10],
        noise=[0.1, 0.3],
        method=["sgd", "adam"],
    )
    box = displayed[-1]  # outside a kernel the picture itself is displayed first
    epoch, noise, method, picture, caption = box.children
    assert isinstance(epoch, widgets.IntSlider) and isinstance(noise, widgets.FloatSlider)
    assert isinstance(method, widgets.SelectionSlider) and isinstance(picture, widgets.Output)
    assert (epoch.min, epoch.max, noise.min, noise.max) == (0, 10, 0.1, 0.3)
    assert noise.description == "Noise" and not noise.continuous_update
    assert "A &lt;caption&gt;" in caption.value
    assert seen == [{"epoch": 10, "noise": 0.1, "method": "sgd"}]

    before = plt.get_fignums()
    noise.value, epoch.value, method.value = 0.123, 7, "adam"
    assert seen[-1] == {"epoch": 7, "noise": 0.123, "method": "adam"}
    assert 'alt="A line (epoch: 7, Noise: 0.123, method: adam)"' in displayed[-1].data
    assert plt.get_fignums() == before


def test_live_checks_its_arguments_too():
    with pytest.raises(ValueError, match="epoch must be a list of one value or more"):
        explore(draw, name="demo", alt="A line", live=True, epoch=[])
    with pytest.raises(TypeError, match="live must be True or False, got 1"):
        explore(draw, name="demo", alt="A line", live=1, epoch=[0])


def test_live_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match="pip install ipywidgets"):
        explore(draw, name="demo", alt="A line", live=True, epoch=[0, 1])

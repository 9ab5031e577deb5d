"""Slider figures in a browser: by key, mouse and touch, played, spoken, in the dark."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from explore.cases import make, stored
from PIL import Image


def frame_shown(figure, html):
    return stored(html)["frames"].index(figure.locator("img").get_attribute("src"))


def test_arrow_keys_step_through_the_frames(opened):
    html = make(epoch=[0, 5, 9], labels={"epoch": "Epoch"})
    page = opened(html)
    slider = page.get_by_label("Epoch", exact=True)
    assert frame_shown(page, html) == 0
    slider.focus()
    for key, frame, text in [("ArrowRight", 1, "5"), ("End", 2, "9"), ("ArrowLeft", 1, "5")]:
        page.keyboard.press(key)
        assert frame_shown(page, html) == frame
        assert page.locator("output").text_content() == text
        assert slider.get_attribute("aria-valuetext") == text
        assert page.locator("img").get_attribute("alt") == f"A line (Epoch: {text})"
    assert page.evaluate("document.querySelector('img').decode().then(() => true)")


def test_a_slider_can_be_dragged(opened):
    html = make(epoch=[0, 1, 2])
    page = opened(html)
    box = page.locator("input").bounding_box()
    page.mouse.click(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)
    assert frame_shown(page, html) == 2


def test_a_slider_can_be_touched(opened):
    html = make(epoch=[0, 1, 2])
    page = opened(html, has_touch=True, viewport={"width": 390, "height": 800})
    box = page.locator("input").bounding_box()
    assert box["height"] >= 24  # the smallest target WCAG 2.2 allows
    page.touchscreen.tap(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)
    assert frame_shown(page, html) == 2


def test_two_sliders_index_the_product(opened):
    html = make(epoch=[0, 4], noise=[0.0, 2.0, 4.0])
    page = opened(html)
    page.get_by_label("noise").fill("2")
    assert frame_shown(page, html) == 2
    page.get_by_label("epoch").fill("1")
    assert frame_shown(page, html) == 5
    page.get_by_label("noise").fill("1")
    assert frame_shown(page, html) == 4


@pytest.mark.parametrize("second_name", ["other", "demo"])
def test_figures_on_one_page_are_independent(opened, second_name):
    first, second = make(), make(name=second_name)
    page = opened(first + second)
    one, two = page.locator(".explore-figure").all()
    two.get_by_label("epoch").focus()
    page.keyboard.press("ArrowRight")
    assert (frame_shown(one, first), frame_shown(two, second)) == (0, 1)
    one.locator("label span").click()  # a label belongs to the slider of its own figure
    page.keyboard.press("End")
    assert (frame_shown(one, first), frame_shown(two, second)) == (2, 1)


def test_html_inserted_later_works_as_in_jupyter(opened):
    html = make()
    page = opened(html)
    insert = """html => {
      const output = document.createElement("div");
      output.innerHTML = html;
      for (const old of output.querySelectorAll("script")) {
        const script = document.createElement("script");
        for (const { name, value } of old.attributes) script.setAttribute(name, value);
        script.textContent = old.textContent;
        old.replaceWith(script);
      }
      document.querySelector("main").prepend(output);
    }"""
    page.evaluate(insert, html)
    new, old = page.locator(".explore-figure").all()
    for figure, key, frame in [(new, "End", 2), (old, "ArrowRight", 1)]:
        figure.get_by_label("epoch").focus()
        page.keyboard.press(key)
        assert frame_shown(figure, html) == frame
    assert frame_shown(new, html) == 2


def test_scripts_leave_nothing_behind(opened):
    count = "Object.getOwnPropertyNames(window).filter(name => !/^explore-/.test(name)).length"
    assert opened(make()).evaluate(count) == opened("<p>None</p>").evaluate(count)


def test_without_javascript_the_start_frame_stands_still(opened):
    html = make(start={"epoch": 1}, epoch=[0, 1, 2])
    page = opened(html, java_script_enabled=False)
    assert frame_shown(page, html) == 1
    assert page.locator("img").is_visible()
    assert not page.locator("input").is_visible() and not page.locator("output").is_visible()
    note = page.locator("noscript")
    assert note.text_content() == "Without JavaScript this figure stays at epoch: 1."
    assert note.is_visible()


def test_a_narrow_screen_is_not_overflown(opened):
    def wide(epoch):
        return plt.figure(figsize=(6.4, 4))

    html = make(
        wide,
        caption="A caption of some length, to be wrapped, and a_word_without_any_space_in_it",
        labels={"epoch": "Optimiser and its settings"},
        epoch=["gradient descent with momentum and weight decay", "adam"],
    )
    page = opened(html, viewport={"width": 360, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    image = page.locator("img").bounding_box()
    assert image["width"] / image["height"] == pytest.approx(1.6, rel=0.01)
    assert page.locator("input").bounding_box()["width"] >= 100


def test_controls_take_the_colour_of_the_page(opened):
    page = opened('<div style="color: rgb(200, 210, 220)">' + make(caption="Text") + "</div>")
    for part in ("label", "output", "figcaption"):
        colour = page.locator(part).evaluate("element => getComputedStyle(element).color")
        assert colour == "rgb(200, 210, 220)"


def test_only_the_page_itself_is_requested(opened):
    page = opened(make())
    page.locator("input").fill("2")
    page.wait_for_timeout(100)
    assert [url for url in page.requests if not url.startswith("data:")] == [page.url]


# --- played ---------------------------------------------------------------------------------------


def played(opened, **options):
    html = make(
        alt=lambda epoch, noise: f"{epoch} and {noise}",
        epoch=[0, 1, 2],
        noise=[0.0, 1.0],
        labels={"epoch": "Epoch"},
        start={"noise": 1.0},
        play="epoch",
    )
    page = opened(html, **options)
    page.clock.install(time=0)
    page.clock.pause_at(1000)
    return page, html


def test_a_figure_plays_to_its_end_and_then_from_the_start(opened):
    page, html = played(opened)
    button = page.get_by_role("button", name="Play Epoch")
    button.click()
    assert page.get_by_role("button", name="Pause Epoch").text_content() == "Pause"
    frames = []
    for _ in range(4):
        frames.append(frame_shown(page, html))
        page.clock.run_for(650)
    assert frames == [1, 3, 5, 5]
    assert page.get_by_label("Epoch", exact=True).get_attribute("aria-valuetext") == "2"
    assert button.text_content() == "Play"
    button.click()
    assert frame_shown(page, html) == 1


@pytest.mark.parametrize("label", ["Epoch", "noise"])
@pytest.mark.parametrize("how", ["key", "mouse"])
def test_playing_stops_when_a_slider_is_taken(opened, label, how):
    page, html = played(opened)
    page.get_by_role("button").click()
    slider = page.get_by_label(label, exact=True)
    slider.press("Home") if how == "key" else slider.click()
    assert page.get_by_role("button").text_content() == "Play"
    stopped = frame_shown(page, html)
    page.clock.run_for(5000)
    assert frame_shown(page, html) == stopped


def test_nothing_plays_by_itself_and_the_button_pauses(opened):
    page, html = played(opened)
    page.clock.run_for(5000)
    assert frame_shown(page, html) == 1
    page.get_by_role("button").click()
    page.clock.run_for(650)
    page.get_by_role("button").click()
    page.clock.run_for(5000)
    assert frame_shown(page, html) == 3


def test_frames_follow_slowly_where_motion_is_to_be_reduced(opened):
    page, html = played(opened, reduced_motion="reduce")
    page.get_by_role("button").click()
    page.clock.run_for(1500)
    assert frame_shown(page, html) == 1
    page.clock.run_for(500)
    assert frame_shown(page, html) == 3


def test_there_is_no_button_without_a_time(opened):
    assert opened(make()).get_by_role("button").count() == 0


# --- spoken ---------------------------------------------------------------------------------------


def test_a_frame_is_spoken_when_the_reader_rests_on_it(opened):
    page, _ = played(opened)
    region = page.locator(".explore-spoken")
    slider = page.get_by_label("Epoch", exact=True)
    slider.press("ArrowRight")
    page.clock.run_for(400)
    slider.press("ArrowRight")
    page.clock.run_for(400)
    assert region.text_content() == ""
    page.clock.run_for(200)
    assert region.text_content() == "2 and 1.0"
    assert page.locator("[role=status], [aria-live]:not([aria-live=off])").count() == 1


def test_nothing_is_spoken_while_the_figure_plays(opened):
    page, _ = played(opened)
    page.get_by_role("button").click()
    page.clock.run_for(1190)
    assert page.locator(".explore-spoken").text_content() == ""
    page.clock.run_for(1000)
    assert page.locator(".explore-spoken").text_content() == "2 and 1.0"


def test_what_the_slider_says_is_not_said_again(opened):
    page = opened(make(alt="A line"))
    page.clock.install(time=0)
    page.clock.pause_at(1000)
    page.locator("input").press("End")
    page.clock.run_for(2000)
    assert page.locator(".explore-spoken").text_content() == ""


def test_marks_around_measured_numbers_are_not_spoken(opened):
    page = opened(make(alt=lambda epoch: f"D is ⟨{epoch}⟩"))
    assert page.locator("img").get_attribute("alt") == "D is 0"
    page.locator("input").press("End")
    assert page.locator("img").get_attribute("alt") == "D is 2"
    page.wait_for_function("document.querySelector('.explore-spoken').textContent === 'D is 2'")


# --- in the dark ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("element", "attribute", "value"),
    [
        ("html", "data-theme", "dark"),
        ("html", "theme", "dark"),
        ("body", "data-jp-theme-light", "false"),
    ],
)
def test_white_takes_the_colour_of_a_dark_page(opened, element, attribute, value):
    """In the book, in Colab and in JupyterLab."""
    page = opened(make())
    page.evaluate(
        """([element, attribute, value]) => {
          document.documentElement.removeAttribute("data-theme");
          document.querySelector(element).setAttribute(attribute, value);
          document.body.style.background = "rgb(20, 24, 30)";
        }""",
        [element, attribute, value],
    )
    screenshot = io.BytesIO(page.locator("img").screenshot())
    shot = np.asarray(Image.open(screenshot).convert("RGB")).astype(int)
    assert np.abs(shot[8, 8] - (20, 24, 30)).max() <= 3
    assert (shot[..., 2] - shot[..., 0]).max() > 60  # the line is still blue


def test_a_light_page_shows_the_frame_as_it_is(opened):
    page = opened(make())
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    assert page.locator("img").evaluate("image => getComputedStyle(image).filter") == "none"


def test_on_paper_a_frame_is_white_and_has_no_controls(opened):
    page = opened(make(play="epoch"))
    page.emulate_media(media="print")
    assert page.locator("img").evaluate("image => getComputedStyle(image).filter") == "none"
    assert not page.locator("button").is_visible() and not page.locator("input").is_visible()

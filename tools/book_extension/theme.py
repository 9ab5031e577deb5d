"""What the theme is told: one header, no button that leads nowhere."""


def configure(app, config):
    """Leave out thebe, the second header bar, and buttons without an address."""
    for listeners in list(app.events.listeners.values()):
        for listener in list(listeners):
            name = getattr(listener.handler, "__name__", "")
            if name in {"init_thebe_core", "update_thebe_context"}:
                app.disconnect(listener.id)
    options = config.html_theme_options
    # The theme's parent would draw a second header bar, with a second search field.
    options.update(navbar_start=[], navbar_center=[], navbar_end=[], navbar_persistent=[])
    if ".invalid/" in options.get("repository_url", ""):
        options.update(use_repository_button=False, repository_url="", launch_buttons={})


def setup(app):
    """Register with Sphinx."""
    app.connect("config-inited", configure, priority=900)

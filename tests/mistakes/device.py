"""Valid calls of lecturelib.device."""

from lecturelib import device


def threads(condition=True):
    with device.one_thread(condition):
        pass


CALLS = {
    "default_device": lambda: (lambda: device.default_device(), {}),
    "one_thread": lambda: (threads, {}),
    "seed_everything": lambda: (device.seed_everything, {"seed": 0}),
}

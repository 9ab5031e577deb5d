"""No test of the data sets touches the network or this user's data."""

import gzip
import hashlib

import numpy as np
import pooch
import pytest
from publishers import IDX_FILES, idx_bytes, random_images

from lecturelib.datasets import _files


@pytest.fixture(autouse=True)
def no_network_and_no_user_data(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise AssertionError(f"unexpected download: {args}")

    monkeypatch.setattr(pooch, "retrieve", refuse)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.delenv("LECTURELIB_DATA", raising=False)


@pytest.fixture
def publish(monkeypatch):
    """Write one data file and pin its hash as the published one."""

    def write(folder, name, file, content):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
        url, md5 = _files.SOURCES[name]
        assert file in md5, "only published files can be pinned"
        pinned = {**md5, file: hashlib.md5(content).hexdigest()}
        monkeypatch.setitem(_files.SOURCES, name, (url, pinned))
        return folder / file

    return write


@pytest.fixture
def publish_mnist(publish):
    def write(folder, name="mnist", split="train", n=12, seed=0):
        images, labels = random_images(n, 28, 28, seed=seed), np.arange(n, dtype=np.uint8) % 10
        for file, array in zip(IDX_FILES[split], (images, labels), strict=True):
            publish(folder, name, file, gzip.compress(idx_bytes(array)))
        return images, labels

    return write

"""Loading: what comes back, where files are looked for, what happens without a network."""

import gzip
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pooch
import pytest
import requests
import torch
from publishers import (
    ARCHIVES,
    IDX_FILES,
    archive_of,
    check_dataset,
    cifar_members,
    idx_bytes,
    random_images,
    unpack,
    usps_bytes,
)
from sklearn.datasets import load_digits

from lecturelib.datasets import _files, load

SHARED = Path(__file__).parents[2].parent / "shared" / "data"

# --- names and splits -----------------------------------------------------------------------------


def test_unknown_name_lists_the_valid_ones():
    known = '"digits", "mnist", "fashion_mnist", "usps", "cifar10", "cifar100"'
    with pytest.raises(ValueError, match=f"^name must be one of {known}, got 'imagenet'$"):
        load("imagenet")


@pytest.mark.parametrize("name", _files.NAMES)
def test_unknown_split_lists_the_valid_ones(name):
    with pytest.raises(ValueError, match='split must be one of "train", "test", got \'val\''):
        load(name, "val")


# --- digits ---------------------------------------------------------------------------------------


def test_digits_split_is_balanced_disjoint_and_in_file_order():
    published = load_digits()
    train, test = load("digits"), load("digits", "test")
    assert train.inputs.shape == (1400, 1, 8, 8)
    assert test.inputs.shape == (397, 1, 8, 8)
    assert train.labels.bincount().tolist() == [140] * 10
    assert train.classes == test.classes == tuple("0123456789")
    for k in range(10):
        images = torch.tensor(published.images[published.target == k] / 16, dtype=torch.float32)
        assert torch.equal(train.inputs[train.labels == k, 0], images[:140])
        assert torch.equal(test.inputs[test.labels == k, 0], images[140:])
    seen = np.zeros(10, int)
    order = []
    for k in published.target:
        if seen[k] < 140:
            order.append(k)
        seen[k] += 1
    assert train.labels.tolist() == order
    assert train.inputs.dtype == torch.float32
    assert (train.inputs.min(), train.inputs.max()) == (0, 1)


# --- round trips ----------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnist_round_trip(tmp_path, publish_mnist, name, split):
    images, labels = publish_mnist(tmp_path / name, name, split)
    classes = _files.DIGITS if name == "mnist" else _files.FASHION
    check_dataset(load(name, split, root=tmp_path), images[:, None], labels, classes)


@pytest.mark.parametrize(("split", "file"), [("train", "usps.bz2"), ("test", "usps.t.bz2")])
def test_usps_round_trip(tmp_path, publish, split, file):
    labels = np.arange(1, 11)
    values = np.random.default_rng(0).integers(-1000, 1001, (10, 256)) / 1000
    values[0, :3] = -1, 0, 1  # a zero is left out of the file, as libsvm does
    publish(tmp_path, "usps", file, usps_bytes(values, labels))
    data = load("usps", split, root=tmp_path)
    expected = torch.tensor((values + 1) / 2, dtype=torch.float32).reshape(10, 1, 16, 16)
    assert torch.equal(data.inputs, expected)
    assert data.inputs[0, 0, 0, :3].tolist() == [0, 0.5, 1]
    assert data.labels.tolist() == list(range(10))
    assert data.labels.dtype == torch.int64
    assert data.classes == _files.DIGITS


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_archive_round_trip(tmp_path, publish, name, split):
    contents, expected, classes = cifar_members(name)
    publish(tmp_path / name, name, ARCHIVES[name][0], archive_of(name, contents))
    check_dataset(load(name, split, root=tmp_path), *expected[split], classes)
    assert os.listdir(tmp_path / name) == [ARCHIVES[name][0]], "nothing is extracted to disk"


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("inside", ["", "named"])
def test_cifar_unpacked_round_trip(tmp_path, name, split, inside):
    contents, expected, classes = cifar_members(name)
    unpack(tmp_path / (name if inside else "") / ARCHIVES[name][1], contents)
    data = load(name, split, root=tmp_path, download=False)
    check_dataset(data, *expected[split], classes)


def test_cifar_classes_without_names_file(tmp_path):
    for name in ARCHIVES:
        contents, _, _ = cifar_members(name)
        kept = {file: content for file, content in contents.items() if file.endswith(".bin")}
        unpack(tmp_path / ARCHIVES[name][1], kept)
    assert load("cifar10", root=tmp_path).classes == _files.CIFAR10
    assert load("cifar100", root=tmp_path).classes == tuple(str(k) for k in range(100))


def test_cifar_archive_wins_over_unpacked(tmp_path, publish):
    contents, expected, classes = cifar_members("cifar10")
    unpack(tmp_path / "cifar10/cifar-10-batches-bin", {"test_batch.bin": b"not read"})
    publish(tmp_path, "cifar10", "cifar-10-binary.tar.gz", archive_of("cifar10", contents))
    check_dataset(load("cifar10", "test", root=tmp_path), *expected["test"], classes)


# --- where files are looked for -------------------------------------------------------------------


def test_named_folder_wins(tmp_path, publish_mnist):
    publish_mnist(tmp_path, "mnist", seed=1)
    images, labels = publish_mnist(tmp_path / "fashion_mnist", "fashion_mnist", seed=2)
    data = load("fashion_mnist", root=tmp_path)
    check_dataset(data, images[:, None], labels, _files.FASHION)
    mnist = load("mnist", root=tmp_path)
    assert not torch.equal(mnist.inputs, data.inputs)


def test_root_then_environment_then_cache(tmp_path, monkeypatch, publish_mnist):
    publish_mnist(tmp_path / "cache/lecturelib/mnist", n=1)
    assert len(load("mnist").labels) == 1
    publish_mnist(tmp_path / "environment", n=2)
    monkeypatch.setenv("LECTURELIB_DATA", str(tmp_path / "environment"))
    assert len(load("mnist").labels) == 2
    publish_mnist(tmp_path / "argument", n=3)
    assert len(load("mnist", root=tmp_path / "argument").labels) == 3
    assert len(load("mnist", root=str(tmp_path / "argument")).labels) == 3
    for root, kind in ((3, TypeError), ("", ValueError)):
        with pytest.raises(kind, match="root must be a path"):
            load("mnist", root=root)


def test_home_is_expanded_and_an_empty_variable_ignored(tmp_path, monkeypatch, publish_mnist):
    publish_mnist(tmp_path / "home/data", n=2)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setenv("LECTURELIB_DATA", "~/data")
    assert len(load("mnist").labels) == 2
    publish_mnist(tmp_path / "cache/lecturelib", n=1)
    monkeypatch.setenv("LECTURELIB_DATA", "")
    assert len(load("mnist").labels) == 1


# --- hashes, downloads, and doing without a network -----------------------------------------------


def test_wrong_hash_is_refused_and_the_file_kept(tmp_path, publish_mnist):
    publish_mnist(tmp_path)
    path = tmp_path / IDX_FILES["train"][0]
    expected = _files.SOURCES["mnist"][1][path.name]
    other = gzip.compress(idx_bytes(random_images(1, 28, 28)))
    path.write_bytes(other)
    with pytest.raises(ValueError) as caught:
        load("mnist", root=tmp_path)
    for part in (str(path), expected, hashlib.md5(other).hexdigest(), "Delete it", "load again"):
        assert part in str(caught.value)
    assert path.read_bytes() == other


def test_missing_without_download_names_url_folder_and_variable(tmp_path):
    for name, split, files in [
        *(("mnist", split, files) for split, files in IDX_FILES.items()),
        *(("fashion_mnist", split, files) for split, files in IDX_FILES.items()),
        ("usps", "train", ["usps.bz2"]),
        ("usps", "test", ["usps.t.bz2"]),
        ("cifar10", "train", ["cifar-10-binary.tar.gz"]),
        ("cifar100", "test", ["cifar-100-binary.tar.gz"]),
    ]:
        with pytest.raises(FileNotFoundError) as caught:
            load(name, split, root=tmp_path, download=False)
        urls = [_files.SOURCES[name][0] + file for file in files]
        for part in (*urls, str(tmp_path / name), "LECTURELIB_DATA"):
            assert part in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_only_the_missing_file_is_asked_for(tmp_path, publish_mnist):
    publish_mnist(tmp_path)
    (tmp_path / IDX_FILES["train"][1]).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        load("mnist", root=tmp_path, download=False)
    assert "train-labels-idx1-ubyte.gz" in str(caught.value)
    assert "train-images" not in str(caught.value)


@pytest.mark.parametrize(
    "failure",
    [
        requests.exceptions.ConnectionError("no route"),
        requests.exceptions.HTTPError("503"),
        requests.exceptions.Timeout("slow"),
        ConnectionResetError("reset"),
    ],
)
def test_failed_download_says_what_to_do(tmp_path, monkeypatch, failure):
    def fail(*args, **kwargs):
        raise failure

    monkeypatch.setattr(pooch, "retrieve", fail)
    with pytest.raises(FileNotFoundError) as caught:
        load("usps", root=tmp_path)
    assert caught.value.__cause__ is failure
    url = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/usps.bz2"
    for part in (url, str(tmp_path / "usps"), "LECTURELIB_DATA"):
        assert part in str(caught.value)


def test_download_goes_to_the_named_folder_with_the_pinned_hash(tmp_path, monkeypatch, publish):
    values, labels = np.full((2, 256), -1.0), np.array([1, 10])
    content = usps_bytes(values, labels)
    publish(tmp_path / "elsewhere", "usps", "usps.bz2", content)
    calls = []

    def retrieve(url, known_hash, fname, path, progressbar):
        calls.append((url, known_hash, progressbar))
        path.mkdir(parents=True)
        (path / fname).write_bytes(content)
        return str(path / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    for _ in range(2):  # the second load finds the file
        assert load("usps", root=tmp_path).labels.tolist() == [0, 9]
    assert (tmp_path / "usps/usps.bz2").is_file()
    url, md5 = _files.SOURCES["usps"]
    assert calls == [(url + "usps.bz2", f"md5:{md5['usps.bz2']}", True)]


def test_every_pinned_hash_is_an_md5():
    for url, md5 in _files.SOURCES.values():
        assert url.endswith("/")
        for value in md5.values():
            assert len(value) == 32
            int(value, 16)


# --- real data, where it lies beside the repository -----------------------------------------------


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="no genuine MNIST beside the project")
def test_genuine_mnist_test_split():
    data = load("mnist", "test", root=SHARED, download=False)
    assert data.inputs.shape == (10_000, 1, 28, 28)
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.labels.bincount().tolist() == counts
    assert (data.inputs.min(), data.inputs.max()) == (0, 1)


@pytest.mark.skipif(
    not (SHARED / "unpack_cifar10.py").is_file(), reason="no packed CIFAR-10 beside the project"
)
def test_genuine_cifar10_images_unpacked(tmp_path):
    pytest.importorskip("PIL")
    script = [sys.executable, SHARED / "unpack_cifar10.py", tmp_path, "--limit", "20"]
    subprocess.run(script, check=True, capture_output=True)
    train = load("cifar10", root=tmp_path, download=False)
    test = load("cifar10", "test", root=tmp_path, download=False)
    assert train.inputs.shape == (200, 3, 32, 32)
    assert test.inputs.shape == (40, 3, 32, 32)
    assert train.labels.bincount().tolist() == [20] * 10
    assert test.labels.bincount().tolist() == [4] * 10
    assert train.classes == _files.CIFAR10
    # Natural images: neighbouring pixels agree far better than the pixels do with their mean.
    step = (train.inputs[..., 1:] - train.inputs[..., :-1]).pow(2).mean()
    assert step < 0.2 * train.inputs.var()

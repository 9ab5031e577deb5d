"""Every file format is written here as its publisher writes it, small, and read back."""

import bz2
import gzip
import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pooch
import pytest
import requests
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.datasets import load_digits

from lecturelib import datasets
from lecturelib.datasets import (
    Dataset,
    gaussian_mixture,
    load,
    read_cifar,
    read_idx,
    read_libsvm,
    standardize,
)

SHARED = Path(__file__).parents[1].parent / "shared/data"
IDX_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


def idx_bytes(array, kind=8):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, kind, array.ndim]) + sizes + array.tobytes()


def cifar_bytes(images, *label_bytes):
    columns = [np.asarray(labels, np.uint8)[:, None] for labels in label_bytes]
    return np.hstack([*columns, images.reshape(len(images), -1)]).tobytes()


def random_images(n, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def tar_bytes(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


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
        url, md5 = datasets.SOURCES[name]
        assert file in md5, "only published files can be pinned"
        pinned = {**md5, file: hashlib.md5(content).hexdigest()}
        monkeypatch.setitem(datasets.SOURCES, name, (url, pinned))
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


def cifar_members(name, n=3):
    """All members of the published archive, and what the train and test splits must hold."""
    if name == "cifar10":
        files, classes = [f"data_batch_{i}.bin" for i in range(1, 6)], datasets.CIFAR10
        batches = [(random_images(n, 3, 32, 32, seed=i), (np.arange(n) + i) % 10) for i in range(6)]
        parts = [cifar_bytes(images, labels) for images, labels in batches]
        contents = dict(zip([*files, "test_batch.bin"], parts, strict=True))
        contents["batches.meta.txt"] = ("\n".join(classes) + "\n\n").encode()
        contents["readme.html"] = b"<html></html>"
    else:
        classes = tuple(f"fine_{k}" for k in range(100))
        batches = [
            (random_images(n, 3, 32, 32, seed=i), 99 - 7 * np.arange(n) - i) for i in range(2)
        ]
        parts = [cifar_bytes(images, labels // 5, labels) for images, labels in batches]
        contents = dict(zip(["train.bin", "test.bin"], parts, strict=True))
        contents["fine_label_names.txt"] = ("\n".join(classes) + "\n").encode()
        contents["coarse_label_names.txt"] = "\n".join(f"coarse_{k}" for k in range(20)).encode()
    *train, test = batches
    images, labels = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return contents, {"train": (images, labels), "test": test}, classes


ARCHIVES = {
    "cifar10": ("cifar-10-binary.tar.gz", "cifar-10-batches-bin"),
    "cifar100": ("cifar-100-binary.tar.gz", "cifar-100-binary"),
}


def archive_of(name, contents):
    folder = ARCHIVES[name][1]
    return tar_bytes({f"{folder}/{file}": content for file, content in contents.items()})


def unpack(folder, contents):
    folder.mkdir(parents=True)
    for file, content in contents.items():
        (folder / file).write_bytes(content)


def check_dataset(data, images, labels, classes):
    """Pixel bytes and labels come back exactly, in the documented types."""
    assert isinstance(data, Dataset)
    assert data.inputs.dtype == torch.float32
    assert data.labels.dtype == torch.int64
    assert data.inputs.min() >= 0 and data.inputs.max() <= 1
    assert np.array_equal((data.inputs * 255).round().numpy(), images)
    assert torch.equal(data.inputs, torch.tensor(images, dtype=torch.float32) / 255)
    assert data.labels.tolist() == labels.tolist()
    assert data.classes == tuple(classes)
    assert data.num_classes == len(classes)


# Names and splits


def test_unknown_name_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"'imagenet'.*digits, mnist, fashion_mnist, usps, cifar1"):
        load("imagenet")


@pytest.mark.parametrize("name", datasets.NAMES)
def test_unknown_split_lists_the_valid_ones(name):
    with pytest.raises(ValueError, match="'validation'; expected one of train, test"):
        load(name, "validation")


# Digits


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


# Round trips


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnist_round_trip(tmp_path, publish_mnist, name, split):
    images, labels = publish_mnist(tmp_path / name, name, split)
    classes = datasets.DIGITS if name == "mnist" else datasets.FASHION
    check_dataset(load(name, split, root=tmp_path), images[:, None], labels, classes)


def usps_bytes(values, labels):
    lines = [
        f"{label} " + " ".join(f"{j}:{v:.6g}" for j, v in enumerate(row, 1) if v)
        for label, row in zip(labels, values, strict=True)
    ]
    return bz2.compress(("\n".join(lines) + "\n").encode())


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
    assert data.classes == datasets.DIGITS


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
    assert load("cifar10", root=tmp_path).classes == datasets.CIFAR10
    assert load("cifar100", root=tmp_path).classes == tuple(str(k) for k in range(100))


def test_cifar_archive_wins_over_unpacked(tmp_path, publish):
    contents, expected, classes = cifar_members("cifar10")
    unpack(tmp_path / "cifar10/cifar-10-batches-bin", {"test_batch.bin": b"not read"})
    publish(tmp_path, "cifar10", "cifar-10-binary.tar.gz", archive_of("cifar10", contents))
    check_dataset(load("cifar10", "test", root=tmp_path), *expected["test"], classes)


# Where files are looked for


def test_named_folder_wins(tmp_path, publish_mnist):
    publish_mnist(tmp_path, "mnist", seed=1)
    images, labels = publish_mnist(tmp_path / "fashion_mnist", "fashion_mnist", seed=2)
    data = load("fashion_mnist", root=tmp_path)
    check_dataset(data, images[:, None], labels, datasets.FASHION)
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


def test_home_is_expanded_and_an_empty_variable_ignored(tmp_path, monkeypatch, publish_mnist):
    publish_mnist(tmp_path / "home/data", n=2)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setenv("LECTURELIB_DATA", "~/data")
    assert len(load("mnist").labels) == 2
    publish_mnist(tmp_path / "cache/lecturelib", n=1)
    monkeypatch.setenv("LECTURELIB_DATA", "")
    assert len(load("mnist").labels) == 1


# Hashes, downloads, and doing without a network


def test_wrong_hash_is_refused_and_the_file_kept(tmp_path, publish_mnist):
    publish_mnist(tmp_path)
    path = tmp_path / IDX_FILES["train"][0]
    expected = datasets.SOURCES["mnist"][1][path.name]
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
        urls = [datasets.SOURCES[name][0] + file for file in files]
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
    url, md5 = datasets.SOURCES["usps"]
    assert calls == [(url + "usps.bz2", f"md5:{md5['usps.bz2']}", True)]


def test_every_pinned_hash_is_an_md5():
    for url, md5 in datasets.SOURCES.values():
        assert url.endswith("/")
        for value in md5.values():
            assert len(value) == 32
            int(value, 16)


class Payload:
    """Creates a file when unpickled."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return Path.touch, (self.witness,)


def test_a_pickle_is_never_executed(tmp_path, publish):
    witness = tmp_path / "executed"
    payload = pickle.dumps(Payload(witness))
    pickle.loads(payload)
    assert witness.exists(), "the payload works"
    witness.unlink()
    packed = {
        "mnist": [(file, gzip.compress(payload)) for file in IDX_FILES["train"]],
        "usps": [("usps.bz2", bz2.compress(payload))],
        "cifar10": [
            (
                "cifar-10-binary.tar.gz",
                archive_of("cifar10", {f"data_batch_{i}.bin": payload for i in range(1, 6)}),
            )
        ],
        "cifar100": [("cifar-100-binary.tar.gz", archive_of("cifar100", {"train.bin": payload}))],
    }
    for name, files in packed.items():
        for root, content_of in (("packed", lambda c: c), ("bare", lambda c: payload)):
            folder = tmp_path / root / name
            folder.mkdir(parents=True)
            for file, content in files:
                (folder / file).write_bytes(content_of(content))
            with pytest.raises(ValueError, match="is not the published"):
                load(name, root=tmp_path / root)
            for file, content in files:  # even if it had the right hash
                publish(folder, name, file, content_of(content))
            with pytest.raises(ValueError, match=r"IDX magic|gzip|libsvm|multiple of|damaged"):
                load(name, root=tmp_path / root)
    unpack(tmp_path / "cifar-10-batches-bin", {"test_batch.bin": payload})
    with pytest.raises(ValueError, match="multiple of 3073"):
        load("cifar10", "test", root=tmp_path)
    assert not witness.exists()


# Malformed IDX files


@settings(deadline=None, max_examples=60)
@given(
    array=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=6)),
    packed=st.booleans(),
)
def test_read_idx_round_trip(array, packed):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "array.gz" if packed else "array")
        path.write_bytes(gzip.compress(idx_bytes(array)) if packed else idx_bytes(array))
        result = read_idx(str(path))
    assert result.dtype == np.uint8
    assert result.shape == array.shape
    assert np.array_equal(result, array)


@settings(deadline=None, max_examples=100)
@given(content=st.binary(max_size=64), packed=st.booleans())
def test_read_idx_raises_nothing_but_value_errors(content, packed):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "noise.gz" if packed else "noise")
        path.write_bytes(content)
        try:
            read_idx(path)
        except ValueError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "IDX magic"),
        (b"\0\0\x08", "IDX magic"),
        (b"\x80\x04\x95\x00more", "IDX magic"),
        (idx_bytes(np.zeros(3, np.uint8), kind=0x0D), r"element type 0x0d, expected 0x08"),
        (idx_bytes(np.zeros(3, np.uint8))[:-1], r"10 bytes, expected 11.*shape \(3,\)"),
        (idx_bytes(np.zeros(3, np.uint8)) + b"\0", "12 bytes, expected 11"),
        (idx_bytes(np.zeros((2, 3), np.uint8))[:9], "9 bytes, expected"),
    ],
)
def test_malformed_idx(tmp_path, content, message):
    for file, packed in (("plain", content), ("packed.gz", gzip.compress(content))):
        path = tmp_path / file
        path.write_bytes(packed)
        with pytest.raises(ValueError, match=message) as caught:
            read_idx(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "not gzip", "flipped"])
def test_damaged_gzip(tmp_path, damage):
    whole = gzip.compress(idx_bytes(random_images(20)))
    flipped = bytes([*whole[:-6], whole[-6] ^ 1, *whole[-5:]])
    content = {"cut": whole[:-9], "not gzip": b"<html>404</html>", "flipped": flipped}[damage]
    path = tmp_path / "labels.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"labels\.gz: damaged gzip file"):
        read_idx(path)


def test_missing_file_stays_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "absent.gz")
    with pytest.raises(FileNotFoundError):
        read_libsvm(tmp_path / "absent.bz2", 3)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ((4, 28, 28), [0, 1, 2], r"labels-idx1-ubyte\.gz: labels of shape \(3,\), expected \(4,\)"),
        ((1, 28, 28), [[0]], r"labels of shape \(1, 1\), expected \(1,\)"),
        ((2, 28, 28), [0, 10], r"labels-idx1-ubyte\.gz: label 10, expected .* 0 to 9"),
        ((2, 27, 28), [0, 1], r"images-idx3-ubyte\.gz: shape \(2, 27, 28\), expected \(N, 28, 28"),
        ((2,), [0, 1], r"shape \(2,\), expected \(N, 28, 28\)"),
        ((0, 28, 28), [], r"shape \(0, 28, 28\), expected .* N > 0"),
    ],
)
def test_inconsistent_mnist(tmp_path, publish, images, labels, message):
    arrays = np.zeros(images, np.uint8), np.array(labels, np.uint8)
    for file, array in zip(IDX_FILES["train"], arrays, strict=True):
        publish(tmp_path, "mnist", file, gzip.compress(idx_bytes(array)))
    with pytest.raises(ValueError, match=message):
        load("mnist", root=tmp_path)


# Malformed libsvm files


@pytest.mark.parametrize(
    "line",
    [
        "1 0:1",
        "1 -1:1",
        "1 4:1",
        "1 99999999999999999999999:1",
        "1 2:1 1:1",
        "1 1:1 1:1",
        "1 a:1",
        "1 1.5:1",
        "1 :1",
        "1 1",
        "1 1:",
        "1 1:x",
        "1 1:2:3",
        "one 1:1",
        "1,2 1:1",
    ],
)
def test_malformed_libsvm_line(tmp_path, line):
    path = tmp_path / "data.bz2"
    path.write_bytes(bz2.compress(f"1 1:0.5\n{line}\n".encode()))
    with pytest.raises(ValueError, match=r"data\.bz2: not libsvm text.*indices from 1 to 3"):
        read_libsvm(path, 3)


@pytest.mark.parametrize("line", ["1 1:nan", "1 1:inf", "1 2:-1e999", "nan 1:1"])
def test_libsvm_values_must_be_finite(tmp_path, line):
    path = tmp_path / "data"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match="infinite or NaN, expected finite"):
        read_libsvm(path, 3)


def test_empty_and_damaged_libsvm(tmp_path):
    path = tmp_path / "data.bz2"
    whole = bz2.compress(b"1 1:0.5\n" * 50)
    for content in (whole[:-5], b"1 1:0.5\n", whole[:8] + b"\xff\xff" + whole[10:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"data\.bz2: not libsvm text"):
            read_libsvm(path, 3)
    for content in (b"", b"\n\n"):
        path.write_bytes(bz2.compress(content))
        with pytest.raises(ValueError, match="no lines"):
            read_libsvm(path, 3)


@pytest.mark.parametrize("label", [0, 11, -1, 1.5])
def test_usps_label_out_of_range(tmp_path, publish, label):
    publish(tmp_path, "usps", "usps.bz2", bz2.compress(f"1 1:0\n{label} 1:1\n".encode()))
    with pytest.raises(ValueError, match=rf"usps\.bz2: label {label}, expected .* 1 to 10"):
        load("usps", root=tmp_path)


# Malformed CIFAR files


def test_read_cifar_layout():
    images, labels = random_images(4, 3, 32, 32), np.array([3, 0, 9, 3])
    pixels, found = read_cifar(cifar_bytes(images, labels))
    assert np.array_equal(pixels, images)
    assert found.tolist() == labels.tolist()
    # Published layout: 1024 red bytes, row by row, then green, then blue.
    record = bytes([1]) + bytes([10] * 1024 + [20] * 1024 + [30] * 1024)
    pixels, _ = read_cifar(record)
    assert pixels[0].reshape(3, -1).T.tolist() == [[10, 20, 30]] * 1024


@pytest.mark.parametrize(
    ("data", "num_classes", "message"),
    [
        (b"", (10,), "batch: 0 bytes, expected a positive multiple of 3073"),
        (bytes(3072), (10,), "batch: 3072 bytes, expected a positive multiple of 3073"),
        (bytes(3073), (20, 100), "batch: 3073 bytes, expected a positive multiple of 3074"),
        (bytes([10]) + bytes(3072), (10,), "batch: label 10, expected .* 0 to 9"),
        (bytes([20, 0]) + bytes(3072), (20, 100), "batch: label 20, expected .* 0 to 19"),
        (bytes([0, 100]) + bytes(3072), (20, 100), "batch: label 100, expected .* 0 to 99"),
    ],
)
def test_malformed_cifar(data, num_classes, message):
    with pytest.raises(ValueError, match=message):
        read_cifar(data, num_classes, source="batch")


def test_malformed_cifar_is_named_in_archive_and_folder(tmp_path, publish):
    contents, _, _ = cifar_members("cifar10")
    contents["data_batch_4.bin"] = contents["data_batch_4.bin"][:-1]
    publish(tmp_path / "a", "cifar10", "cifar-10-binary.tar.gz", archive_of("cifar10", contents))
    with pytest.raises(ValueError, match=r"cifar-10-binary\.tar\.gz/data_batch_4\.bin: 9218 bytes"):
        load("cifar10", root=tmp_path / "a")
    unpack(tmp_path / "b/cifar-10-batches-bin", contents)
    with pytest.raises(ValueError, match=r"cifar-10-batches-bin/data_batch_4\.bin: 9218 bytes"):
        load("cifar10", root=tmp_path / "b")


def test_incomplete_cifar(tmp_path, publish):
    contents, expected, classes = cifar_members("cifar10")
    del contents["data_batch_3.bin"]
    publish(tmp_path / "a", "cifar10", "cifar-10-binary.tar.gz", archive_of("cifar10", contents))
    unpack(tmp_path / "b/cifar-10-batches-bin", contents)
    for root in (tmp_path / "a", tmp_path / "b"):
        with pytest.raises(ValueError, match=r"cifar-10-.* lacks data_batch_3\.bin"):
            load("cifar10", root=root)
        check_dataset(load("cifar10", "test", root=root), *expected["test"], classes)


def test_cifar_member_that_is_no_plain_file_counts_as_missing(tmp_path, publish):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        link = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    publish(tmp_path, "cifar10", "cifar-10-binary.tar.gz", buffer.getvalue())
    with pytest.raises(ValueError, match=r"lacks test_batch\.bin"):
        load("cifar10", "test", root=tmp_path)


def test_wrong_number_of_class_names(tmp_path):
    contents, _, _ = cifar_members("cifar100")
    contents["fine_label_names.txt"] = b"apple\nbear\n"
    unpack(tmp_path / "cifar-100-binary", contents)
    with pytest.raises(ValueError, match=r"fine_label_names\.txt: 2 class names, expected 100"):
        load("cifar100", root=tmp_path)


@pytest.mark.parametrize("part", [0, 0.3, 0.9, 0.9999])
def test_truncated_archive(tmp_path, publish, part):
    contents, _, _ = cifar_members("cifar100")
    whole = archive_of("cifar100", contents)
    cut = whole[: int(part * len(whole))]
    publish(tmp_path, "cifar100", "cifar-100-binary.tar.gz", cut)
    with pytest.raises(ValueError, match=r"cifar-100-binary\.tar\.gz: damaged tar\.gz archive"):
        load("cifar100", root=tmp_path)


def test_damaged_archive(tmp_path, publish):
    contents, _, _ = cifar_members("cifar100")
    whole = archive_of("cifar100", contents)
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes(64) + whole[middle + 64 :]
    for content in (b"<html>404</html>", gzip.compress(b"no tar" * 200), flipped):
        publish(tmp_path, "cifar100", "cifar-100-binary.tar.gz", content)
        with pytest.raises(ValueError, match=r"cifar-100-binary\.tar\.gz: damaged"):
            load("cifar100", root=tmp_path)


# Real data, where it lies beside the repository


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
    assert train.classes == datasets.CIFAR10
    # Natural images: neighbouring pixels agree far better than the pixels do with their mean.
    step = (train.inputs[..., 1:] - train.inputs[..., :-1]).pow(2).mean()
    assert step < 0.2 * train.inputs.var()


# standardize


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(50,), (50, 4), (50, 2, 3, 5)])
def test_standardize_gives_mean_zero_and_variance_one(shape, dtype):
    generator = torch.Generator().manual_seed(0)
    inputs = 3 + 2 * torch.randn(shape, generator=generator, dtype=dtype)
    before = inputs.clone()
    result = standardize(inputs)
    assert result.shape == shape and result.dtype == dtype
    zero = torch.zeros(shape[1:], dtype=dtype)
    torch.testing.assert_close(result.mean(0), zero, atol=1e-5, rtol=0)
    torch.testing.assert_close(result.var(0, correction=0), zero + 1, atol=1e-5, rtol=0)
    assert torch.equal(inputs, before)


def test_standardize_uses_the_reference():
    train = torch.tensor([[0.0, 1.0], [4.0, 3.0]])
    test = torch.tensor([[2.0, 2.0], [6.0, 5.0], [0.0, 0.0]])
    expected = torch.tensor([[0.0, 0.0], [2.0, 3.0], [-1.0, -2.0]])
    assert torch.equal(standardize(test, reference=train), expected)
    assert standardize(test, reference=train.double()).dtype == torch.float32


@pytest.mark.parametrize("value", [0.1, 1e-30, -7.3, 1e6])
def test_constant_features_become_exactly_zero(value):
    train = torch.full((1001, 2), value)
    train[:, 1] = torch.arange(1001)
    test = torch.full((3, 2), 5.0)
    for inputs in (train, test):
        result = standardize(inputs, reference=train)
        assert torch.equal(result[:, 0], torch.zeros(len(inputs)))
        assert result.isfinite().all()
        assert (result[:, 1] != 0).any()


def test_a_variance_that_underflows_counts_as_zero():
    inputs = torch.tensor([[0.0], [1e-200]], dtype=torch.float64)
    assert torch.equal(standardize(inputs), torch.zeros_like(inputs))


def test_standardize_digits():
    train, test = load("digits"), load("digits", "test")
    scaled = standardize(train.inputs)
    constant = train.inputs.amax(0) == train.inputs.amin(0)
    assert constant.any()
    assert (scaled[:, constant] == 0).all()
    assert torch.equal(scaled.std(0, correction=0) > 0.5, ~constant)
    other = standardize(test.inputs, reference=train.inputs)
    assert other.isfinite().all()
    assert (other[:, constant] == 0).all()


@pytest.mark.parametrize(
    ("inputs", "reference", "message"),
    [
        (torch.zeros(0, 3), None, r"inputs must hold samples, got shape \(0, 3\)"),
        (torch.zeros(3, 0), None, "inputs must hold samples"),
        (torch.tensor(1.0), None, "inputs must hold samples"),
        (torch.zeros(2, 3, dtype=torch.uint8), None, "floating point, got torch.uint8"),
        (torch.tensor([[1.0], [torch.nan]]), None, "inputs must be finite"),
        (torch.tensor([[1.0], [torch.inf]]), None, "inputs must be finite"),
        (torch.zeros(2, 3), torch.zeros(0, 3), "reference must hold samples"),
        (torch.zeros(2, 3), torch.full((2, 3), torch.nan), "reference must be finite"),
        (torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int64), "reference must be floating"),
        (torch.zeros(2, 3), torch.zeros(2, 4), r"\(2, 3\) and reference \(2, 4\) must agree"),
        (torch.zeros(2, 3), torch.zeros(2, 3, 1), "must agree"),
    ],
)
def test_standardize_refuses(inputs, reference, message):
    with pytest.raises(ValueError, match=message):
        standardize(inputs, reference=reference)


# gaussian_mixture


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mixture_statistics(dtype):
    generator = torch.Generator().manual_seed(0)
    means = torch.tensor([[0.0, 3.0, -1.0], [10.0, 0.0, 2.0]], dtype=dtype)
    features, labels = gaussian_mixture(means, 20_000, 0.5, generator=generator)
    assert features.shape == (40_000, 3) and features.dtype == dtype
    assert labels.dtype == torch.int64
    assert torch.equal(labels, torch.tensor([0] * 20_000 + [1] * 20_000))
    for k in range(2):
        rows = features[labels == k]
        torch.testing.assert_close(rows.mean(0), means[k], atol=0.02, rtol=0)
        expected = 0.25 * torch.eye(3, dtype=dtype)
        torch.testing.assert_close(rows.T.cov(), expected, atol=0.02, rtol=0)


def test_mixture_is_reproducible_and_linear_in_the_noise():
    means = torch.tensor([[1.0], [2.0], [3.0]])

    def draw(noise):
        return gaussian_mixture(means, 4, noise, generator=torch.Generator().manual_seed(3))[0]

    assert torch.equal(draw(0.7), draw(0.7))
    assert torch.equal(draw(0), means.repeat_interleave(4, dim=0))
    torch.testing.assert_close(draw(2.0) - draw(0), 2 * (draw(1.0) - draw(0)))
    torch.manual_seed(3)
    assert torch.equal(gaussian_mixture(means, 4, 0.7)[0], draw(0.7))


def test_a_batch_of_mixtures_has_a_noise_level_each():
    means, noise = torch.eye(2, 3, dtype=torch.float64), torch.tensor([0.0, 0.1, 2.0])
    draw = {"samples_per_class": 500, "batch_shape": (3,)}
    features, labels = gaussian_mixture(
        means, noise=noise, generator=torch.Generator().manual_seed(0), **draw
    )
    assert features.shape == (3, 1000, 3) and features.dtype == torch.float64
    spread = (features - means[labels]).std((1, 2))
    torch.testing.assert_close(spread, noise.double(), atol=0, rtol=0.05)
    assert torch.equal(features[0], means[labels])
    same, _ = gaussian_mixture(means, noise=0.5, generator=torch.Generator().manual_seed(0), **draw)
    normal = torch.randn(
        3, 1000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    assert torch.equal(same, means[labels] + 0.5 * normal)


@pytest.mark.parametrize(
    ("means", "samples", "noise", "message"),
    [
        (torch.zeros(3), 1, 1.0, r"means must be .* shape \(K, d\), got .* shape \(3,\)"),
        (torch.zeros(0, 3), 1, 1.0, r"shape \(K, d\), got .* shape \(0, 3\)"),
        (torch.zeros(3, 0), 1, 1.0, r"shape \(K, d\), got .* shape \(3, 0\)"),
        (torch.zeros(2, 2, dtype=torch.int64), 1, 1.0, "means must be a floating-point tensor"),
        (torch.full((2, 2), torch.nan), 1, 1.0, "means must be finite"),
        (torch.zeros(2, 2), 0, 1.0, "samples_per_class must be an integer >= 1, got 0"),
        (torch.zeros(2, 2), 1, -0.1, "noise must be a finite number >= 0, got -0.1"),
        (torch.zeros(2, 2), 1, float("nan"), "noise must be a finite number"),
        (torch.zeros(2, 2), 1, float("inf"), "noise must be a finite number"),
        (torch.zeros(2, 2), 1, torch.ones(3), r"noise must be .* of shape \(\)"),
    ],
)
def test_mixture_refuses(means, samples, noise, message):
    with pytest.raises(ValueError, match=message):
        gaussian_mixture(means, samples, noise)


def test_a_batch_of_mixtures_refuses_negative_noise():
    with pytest.raises(ValueError, match=r"noise must be numbers >= 0, got the float32 -1\.0"):
        gaussian_mixture(torch.eye(2), 1, torch.tensor([1.0, -1.0]), batch_shape=(2,))

"""Data files as their publishers write them, small."""

import bz2
import io
import tarfile

import numpy as np
import torch

from lecturelib.datasets import Dataset, _files

IDX_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


ARCHIVES = {
    "cifar10": ("cifar-10-binary.tar.gz", "cifar-10-batches-bin"),
    "cifar100": ("cifar-100-binary.tar.gz", "cifar-100-binary"),
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


def cifar_members(name, n=3):
    """All members of the published archive, and what the train and test splits must hold."""
    if name == "cifar10":
        files, classes = [f"data_batch_{i}.bin" for i in range(1, 6)], _files.CIFAR10
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


def usps_bytes(values, labels):
    lines = [
        f"{label} " + " ".join(f"{j}:{v:.6g}" for j, v in enumerate(row, 1) if v)
        for label, row in zip(labels, values, strict=True)
    ]
    return bz2.compress(("\n".join(lines) + "\n").encode())

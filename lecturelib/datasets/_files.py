"""The readers behind :func:`lecturelib.datasets.load`: published files, checked and parsed.

Nothing is unpickled, and nothing is extracted to disk.
"""

import bz2
import gzip
import io
import math
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pooch
from sklearn.datasets import load_digits, load_svmlight_file

# Data set: base URL, then the MD5 of every file as its publisher (or torchvision) lists it.
SOURCES = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion_mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "usps": (
        "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/",
        {
            "usps.bz2": "ec16c51db3855ca6c91edd34d0e9b197",
            "usps.t.bz2": "8ea070ee2aca1ac39742fdd1ef5ed118",
        },
    ),
    "cifar10": (
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
    ),
    "cifar100": (
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"},
    ),
}
NAMES = ("digits", *SOURCES)
SPLITS = ("train", "test")

DIGITS = tuple("0123456789")
FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
CIFAR10 = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
# Data set: folder in the archive, files of each split, file of class names, number of classes for
# every label byte of a record, and the class names where that file is absent.
CIFAR = {
    "cifar10": (
        "cifar-10-batches-bin",
        {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]},
        "batches.meta.txt",
        (10,),
        CIFAR10,
    ),
    "cifar100": (
        "cifar-100-binary",
        {"train": ["train.bin"], "test": ["test.bin"]},
        "fine_label_names.txt",
        (20, 100),
        tuple(str(k) for k in range(100)),
    ),
}
DIGITS_PER_CLASS = 140


def read(name, split, root, download):
    """Return images (N, C, H, W) in [0, 1], labels (N,) and class names of a split, as published.

    Parameters
    ----------
    name, split : str
        Of :data:`NAMES` and :data:`SPLITS`.
    root : Path
        Data folder.
    download : bool
        Whether to fetch what is missing.
    """
    if name == "digits":
        return _load_digits(split)
    load = {"usps": _load_usps, "cifar10": _load_cifar, "cifar100": _load_cifar}
    return load.get(name, _load_mnist)(name, split, root, download)


def _load_digits(split):
    digits = load_digits()
    train = np.zeros(len(digits.target), dtype=bool)
    for k in range(10):
        train[np.flatnonzero(digits.target == k)[:DIGITS_PER_CLASS]] = True
    chosen = train if split == "train" else ~train
    images = digits.images[chosen, None] / 16
    return images.astype(np.float32), digits.target[chosen], DIGITS


def _load_mnist(name, split, root, download):
    prefix = "train" if split == "train" else "t10k"
    files = [f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz"]
    images_path, labels_path = _fetch(name, files, root, download)
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.shape[1:] != (28, 28) or not images.size:
        raise ValueError(f"{images_path}: shape {images.shape}, expected (N, 28, 28) with N > 0")
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"{labels_path}: labels of shape {labels.shape}, expected ({len(images)},), "
            f"one for every image in {images_path.name}"
        )
    _check_labels(labels, 0, 9, labels_path)
    return _to_unit(images[:, None]), labels, DIGITS if name == "mnist" else FASHION


def _load_usps(name, split, root, download):
    file = "usps.bz2" if split == "train" else "usps.t.bz2"
    [path] = _fetch(name, [file], root, download)
    values, labels = read_libsvm(path, 16 * 16)
    _check_labels(labels, 1, 10, path)
    images = (values.reshape(-1, 1, 16, 16) + 1) / 2
    return images.astype(np.float32), labels - 1, DIGITS


def _load_cifar(name, split, root, download):
    folder, files, names_file, num_classes, classes = CIFAR[name]
    [archive] = SOURCES[name][1]
    wanted = [*files[split], names_file]
    source = _find(name, folder, root)
    if source is not None and _find(name, archive, root) is None:
        paths = [source / file for file in wanted]
        contents = {path.name: path.read_bytes() for path in paths if path.is_file()}
    else:
        [source] = _fetch(name, [archive], root, download)
        contents = _read_members(source, [f"{folder}/{file}" for file in wanted])
    for file in files[split]:
        if file not in contents:
            raise ValueError(
                f"{source} lacks {file}, expected {', '.join(files[split])}. Complete it, or "
                "delete it and load again"
            )
    if names_file in contents:
        classes = tuple(contents[names_file].decode(errors="replace").split())
        if len(classes) != num_classes[-1]:
            raise ValueError(
                f"{source}/{names_file}: {len(classes)} class names, expected {num_classes[-1]}"
            )
    batches = [
        read_cifar(contents[file], num_classes, source=f"{source}/{file}") for file in files[split]
    ]
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return _to_unit(images), labels, classes


def _to_unit(pixels):
    return np.divide(pixels, np.float32(255), dtype=np.float32)


def _check_labels(labels, first, last, source):
    wrong = labels[~np.isin(labels, np.arange(first, last + 1))]
    if wrong.size:
        raise ValueError(
            f"{source}: label {wrong[0]:g}, expected whole numbers from {first} to {last}"
        )


def _find(name, file, root):
    """Return the path of a file or folder, or None; the folder of the data set comes first."""
    for path in (root / name / file, root / file):
        if path.exists():
            return path
    return None


def _fetch(name, files, root, download):
    """Return the paths of published files, downloaded where missing, their hashes checked."""
    url, md5 = SOURCES[name]
    missing = [file for file in files if _find(name, file, root) is None]
    advice = (
        f"Fetch {' and '.join(url + file for file in missing)} on a machine with a network and "
        f"put it into {root / name}. The environment variable LECTURELIB_DATA (or the argument "
        "root) can name another data folder."
    )
    if missing and not download:
        raise FileNotFoundError(f"{name}: {', '.join(missing)} not found in {root}. {advice}")
    for file in missing:
        try:
            pooch.retrieve(
                url + file, f"md5:{md5[file]}", fname=file, path=root / name, progressbar=True
            )
        except OSError as error:  # the base class of what requests and the file system raise
            raise FileNotFoundError(f"{name}: could not download {file}. {advice}") from error
    paths = [_find(name, file, root) for file in files]
    for path in paths:
        found = pooch.file_hash(str(path), alg="md5")
        if found != md5[path.name]:
            raise ValueError(
                f"{path} is not the published {name} file: expected MD5 {md5[path.name]}, found "
                f"{found}. Delete it (or move it, if it belongs to another data set) and load again"
            )
    return paths


def _read_members(archive, wanted):
    """Return {file name: bytes} of the wanted tar members, in one pass over the archive."""
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            contents = {
                Path(member.name).name: tar.extractfile(member).read()
                for member in tar
                if member.isfile() and member.name in wanted
            }
            stream.read()  # on to the end, where gzip checks length and checksum
            return contents
    except (EOFError, gzip.BadGzipFile, tarfile.TarError, zlib.error) as error:
        raise ValueError(f"{archive}: damaged tar.gz archive ({error})") from error


def read_idx(path) -> np.ndarray:
    """Read an IDX file of unsigned bytes, the format of MNIST.

    Parameters
    ----------
    path : str or Path
        File, gzip-compressed where its name ends in ``.gz``.

    Returns
    -------
    ndarray, shape as in the file's header
        Values, uint8.

    Raises
    ------
    ValueError
        If the file is damaged, is no IDX file, has elements other than unsigned bytes, or is not
        as long as its header says.

    Notes
    -----
    The header is two zero bytes, the element type (8: unsigned byte), the number D of dimensions,
    and D sizes as big-endian 32-bit integers; the elements follow, the last index fastest.

    References
    ----------
    Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits",
    http://yann.lecun.com/exdb/mnist/

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "labels-idx1-ubyte")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
    ...     read_idx(path)
    array([5, 0, 4], dtype=uint8)
    """
    path = Path(path)
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged gzip file ({error})") from error
    if len(data) < 4 or data[:2] != b"\0\0":
        raise ValueError(f"{path}: begins with {data[:4]!r}, expected the IDX magic 0, 0, type, D")
    if data[2] != 8:
        raise ValueError(f"{path}: IDX element type {data[2]:#04x}, expected 0x08 (unsigned byte)")
    start = 4 + 4 * data[3]
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4))
    if len(data) != start + math.prod(shape):
        raise ValueError(
            f"{path}: {len(data)} bytes, expected {start + math.prod(shape)}: "
            f"a header of {start} and elements of shape {shape}"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy()


def read_cifar(data, num_classes=(10,), *, source="CIFAR data"):
    """Parse the records of a CIFAR binary file.

    Parameters
    ----------
    data : bytes
        Content of the file: records of the label bytes, then 3072 pixels, channel first.
    num_classes : tuple of int
        Number of classes for every label byte: ``(10,)`` for CIFAR-10, ``(20, 100)`` for the
        coarse and the fine label of CIFAR-100.
    source : str
        Name of the file, for messages.

    Returns
    -------
    images : ndarray, shape (N, 3, 32, 32)
        Pixels, uint8; a read-only view of ``data``.
    labels : ndarray, shape (N,)
        Last label byte of every record, uint8.

    Raises
    ------
    ValueError
        If the data is empty or no whole number of records, or a label is out of range.

    References
    ----------
    A. Krizhevsky, "The CIFAR-10 and CIFAR-100 datasets", section "Binary version",
    https://www.cs.toronto.edu/~kriz/cifar.html

    Examples
    --------
    >>> images, labels = read_cifar(bytes([7]) + bytes(3072))
    >>> images.shape, labels.tolist()
    ((1, 3, 32, 32), [7])
    """
    num_labels = len(num_classes)
    record = num_labels + 3 * 32 * 32
    if not data or len(data) % record:
        raise ValueError(f"{source}: {len(data)} bytes, expected a positive multiple of {record}")
    records = np.frombuffer(data, np.uint8).reshape(-1, record)
    for column, count in enumerate(num_classes):
        _check_labels(records[:, column], 0, count - 1, source)
    return records[:, num_labels:].reshape(-1, 3, 32, 32), records[:, num_labels - 1]


def read_libsvm(path, num_features):
    r"""Read a file in the libsvm text format, ``label index:value index:value …`` on every line.

    Parameters
    ----------
    path : str or Path
        File, bzip2-compressed where its name ends in ``.bz2``.
    num_features : int
        Number d of features; indices run from 1 to d in rising order, an absent one means 0.

    Returns
    -------
    features : ndarray, shape (N, d)
        Values, float64.
    labels : ndarray, shape (N,)
        Labels as written, float64.

    Raises
    ------
    ValueError
        If the file is damaged or empty, a line is malformed, or a value is not finite.

    References
    ----------
    C.-C. Chang and C.-J. Lin, "LIBSVM: a library for support vector machines", ACM
    Transactions on Intelligent Systems and Technology 2(3), 2011.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "two_lines")
    ...     _ = path.write_text("1 1:0.5 3:-1\n2 2:1\n")
    ...     features, labels = read_libsvm(path, 3)
    >>> features.tolist(), labels.tolist()
    ([[0.5, 0.0, -1.0], [0.0, 1.0, 0.0]], [1.0, 2.0])
    """
    path = Path(path)
    data = path.read_bytes()
    try:
        text = bz2.decompress(data) if path.suffix == ".bz2" else data
        sparse, labels = load_svmlight_file(
            io.BytesIO(text), n_features=num_features, zero_based=False
        )
    except (OSError, OverflowError, ValueError) as error:
        raise ValueError(
            f"{path}: not libsvm text, expected lines of 'label index:value …' with indices from "
            f"1 to {num_features} in rising order ({error})"
        ) from error
    features = sparse.toarray()
    if not len(features):
        raise ValueError(f"{path}: no lines, expected one for every sample")
    if not (np.isfinite(features).all() and np.isfinite(labels).all()):
        raise ValueError(f"{path}: a label or value is infinite or NaN, expected finite numbers")
    return features, labels

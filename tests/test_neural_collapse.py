"""The streaming metrics: any batches, one pass or two, two processes, a GPU."""

import copy
import pickle

import numpy as np
import pytest
import torch
from helpers import F64, SEEDS, Textbook, examples, mixture
from hypothesis import given
from hypothesis import strategies as st

from lecturelib import metrics
from lecturelib.metrics import ClassStatistics, nc1, nc3
from lecturelib.neural_collapse import ClassMeans, NeuralCollapse

ANGLES = ("nc2", "equinorm", "equiangularity", "maximal_angle")
GOOD, LABELS = torch.tensor([[0.0, 1], [1, 0], [2, 2], [3, 0]]), torch.tensor([0, 0, 1, 1])


def one_shot(features, labels, classifier=None, bias=None, nc4=False):
    """All measures that a metric can return, by the functions that see everything at once."""
    num_classes = int(labels.max()) + 1
    statistics = ClassStatistics.from_features(features, labels, num_classes)
    values = {"nc1": nc1(features, labels), "cdnv": metrics.cdnv(features, labels)}
    values |= {name: getattr(metrics, name)(statistics.centred_means) for name in ANGLES}
    if classifier is None:
        return values
    values |= {f"{name}_classifier": getattr(metrics, name)(classifier) for name in ANGLES}
    values["nc3"] = nc3(classifier, statistics.means)
    if bias is not None:
        values["bias_measure"] = metrics.bias_measure(classifier, bias, statistics.global_mean)
    if nc4:
        values["nc4"] = metrics.nc4(features, labels, classifier, bias)
    return values


def assert_same(measured, expected, rel=1e-6):
    assert {name: float(value) for name, value in measured.items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=rel, abs=1e-13
    )


def batches(features, labels, sizes):
    """Split samples at the given places."""
    cuts = np.unique(np.cumsum(sizes)[:-1].clip(1, len(labels) - 1))
    rows = np.split(np.arange(len(labels)), cuts)
    return [(features[row], labels[row]) for row in rows]


def updated(metric, parts):
    for rows, classes in parts:
        metric.update(rows, classes)
    return metric


@examples(60)
@given(
    seed=SEEDS,
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=8),
    noise=st.sampled_from([1.0, 1e-6]),
    offset=st.sampled_from([0.0, 50.0]),
    dtype=st.sampled_from([torch.float32, F64]),
)
def test_one_pass_and_two_equal_one_shot_for_any_batches(seed, sizes, noise, offset, dtype):
    counts = [5, 9, 14, max(1, sum(sizes) - 28)]
    features, labels, classifier, bias = mixture(seed, counts, 6, noise=noise, offset=offset)
    features = features.to(dtype)
    parts, head = batches(features, labels, sizes), {"classifier": classifier, "bias": bias}
    once = updated(NeuralCollapse(4, 6, **head), parts)
    assert_same(once.compute(), one_shot(features, labels, classifier, bias))
    means = updated(ClassMeans(4), parts).compute()
    twice = updated(NeuralCollapse(4, means=means, **head), parts)
    assert_same(twice.compute(), one_shot(features, labels, classifier, bias, nc4=True))


def test_wide_features_take_several_blocks_of_the_scatter():
    features, labels, classifier, _ = mixture(3, [40, 30, 20], 1100, noise=0.3, offset=2.0)
    parts = list(zip(features.float().split(32), labels.split(32), strict=True))
    metric = updated(NeuralCollapse(3, classifier=classifier), parts)
    assert_same(metric.compute(), one_shot(features.float(), labels, classifier), rel=1e-5)


def test_collapsed_single_precision_with_an_offset_keeps_its_digits():
    features, labels, *_ = mixture(0, [300, 200, 500], 16, noise=1e-4, offset=50.0)
    features = features.float()
    parts = list(zip(features.split(64), labels.split(64), strict=True))
    means = updated(ClassMeans(3), parts).compute()
    expected = float(nc1(features, labels))
    for metric in (NeuralCollapse(3), NeuralCollapse(3, means=means)):
        assert float(updated(metric, parts).compute()["nc1"]) == pytest.approx(expected, rel=1e-6)


def test_a_stream_that_drifts_is_merged_around_its_means():
    """The first batch lies far from the others: its means are no place to centre at."""
    features, labels, *_ = mixture(4, [60, 50], 8, noise=0.1)
    features[:20] += 1e4
    parts = list(zip(features.split(20), labels.split(20), strict=True))
    value = float(updated(NeuralCollapse(2), parts).compute()["nc1"])
    assert value == pytest.approx(float(nc1(features, labels)), rel=1e-9)


def test_metric_of_strongly_collapsed_features():
    features, labels, classifier, bias = mixture(0, [60, 50, 40], 8, noise=5e-7, offset=100.0)
    metric = NeuralCollapse(3, 8)
    for start in range(0, 150, 7):
        metric.update(features[start : start + 7], labels[start : start + 7])
    value = float(metric.compute()["nc1"])
    assert 1e-14 < value < 1e-11
    assert value == pytest.approx(float(nc1(features, labels)), rel=1e-6)
    assert value == pytest.approx(Textbook(features, labels, classifier, bias).nc1, rel=1e-6)


def test_metric_forward_merge_reset_and_copies():
    features, labels, classifier, _ = mixture(1, [30, 40, 50], 4)
    halves = list(zip(features.split(60), labels.split(60), strict=True))
    metric, other = NeuralCollapse(3, 4, classifier=classifier), NeuralCollapse(3, 4)
    assert metric(*halves[0]) is None  # a batch has no value, it may lack a class
    other.update(*halves[1])
    metric.merge_state(other)
    everything = one_shot(features, labels, classifier)
    assert_same(metric.compute(), everything)
    for twin in (pickle.loads(pickle.dumps(metric)), metric.clone(), copy.deepcopy(metric)):
        metric.reset()
        assert_same(twin.compute(), everything)
        twin.reset()
        twin(*halves[0])
        assert_same(twin.compute(), one_shot(*halves[0], classifier))
    metric.update(*halves[1])
    assert_same(metric.compute(), one_shot(*halves[1], classifier))


def test_metric_learns_the_dimension_from_the_first_batch():
    features, labels, classifier, _ = mixture(1, [30, 40, 50], 4)
    metric = NeuralCollapse(3)
    with (
        pytest.warns(UserWarning, match="before"),
        pytest.raises(ValueError, match="got none of"),
    ):
        metric.compute()
    for _ in range(2):
        for rows, classes in zip(features.split(50), labels.split(50), strict=True):
            metric.update(rows, classes)
        assert_same(metric.compute(), one_shot(features, labels))
        metric.reset()
    with pytest.raises(ValueError, match=r"of shape \(N, 4\)"):
        metric.update(features[:, :3], labels)
    assert NeuralCollapse(3, classifier=classifier).dim == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_same_on_a_gpu():
    features, labels, classifier, bias = mixture(1, [300, 400, 500], 40, dtype=torch.float32)
    there = [tensor.cuda() for tensor in (features, labels)]
    head = {"classifier": classifier.cuda(), "bias": bias.cuda()}
    once = NeuralCollapse(3, **head).cuda()
    once.update(*there)
    assert_same(once.compute(), one_shot(features, labels, classifier, bias))
    means = ClassMeans(3).cuda()
    means.update(*there)
    twice = NeuralCollapse(3, means=means.compute(), **head).cuda()
    twice.update(*there)
    assert_same(twice.compute(), one_shot(features, labels, classifier, bias, nc4=True))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_metric_takes_any_integer_labels(dtype):
    features, labels, *_ = mixture(0, [4, 5, 6], 4)
    metric = NeuralCollapse(3, 4)
    metric.update(features, labels.to(dtype))
    assert float(metric.compute()["nc1"]) == pytest.approx(float(nc1(features, labels)))


def test_metric_of_coinciding_class_means():
    features = torch.tensor([[1.0, 2], [3, 4], [1, 2], [3, 4]])
    metric = NeuralCollapse(2, 2)
    metric.update(features, torch.tensor([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="vectors must not be zero"):  # no angles
        metric.compute()


def test_batches_that_lack_a_class_are_kept_by_forward():
    features, labels, classifier, _ = mixture(1, [30, 40, 50], 4)
    metric = NeuralCollapse(3, 4, classifier=classifier)
    for k in range(3):
        metric(features[labels == k], labels[labels == k])
    assert_same(metric.compute(), one_shot(features, labels, classifier))


def test_metric_follows_the_classifier():
    features, labels, *_ = mixture(2, [8, 8, 8], 4, dtype=torch.float32)
    head = torch.nn.Linear(4, 3)
    metric = NeuralCollapse(3, 4, classifier=head.weight)
    metric.update(features, labels)
    before = metric.compute()["nc3"]
    with torch.no_grad():
        head.weight += torch.eye(3, 4)
    metric.update(features, labels)
    after = metric.compute()["nc3"]
    weight = head.weight.detach()
    means = ClassStatistics.from_features(features, labels).means
    assert after != before and float(after) == pytest.approx(float(nc3(weight, means)))
    assert not after.requires_grad and head.weight.grad is None
    assert not metric.state_dict() and not list(metric.parameters())


BAD = [
    (lambda: NeuralCollapse(1, 3), "num_classes must be an integer >= 2, got 1"),
    (lambda: NeuralCollapse(2, 0), "dim must be an integer >= 1, got 0"),
    (lambda: NeuralCollapse(2, 2, classifier=torch.ones(2, 3)), r"classifier .*\(2, 2\)"),
    (lambda: NeuralCollapse(2, 2, means=torch.ones(2, 3)), r"means .*\(2, 2\)"),
    (lambda: NeuralCollapse(2, 2, means=torch.ones(3, 2)), r"means .*\(2, d\)"),
    (lambda: NeuralCollapse(2, 2, bias=torch.ones(2)), "bias must be None without a classifier"),
    (lambda: NeuralCollapse(2, 3).update(GOOD, LABELS), r"\(N, 3\), got .* \(4, 2\)"),
    (lambda: NeuralCollapse(2, 2).update(GOOD, LABELS + 1), r"0 \.\. 1, got 1 \.\. 2"),
    (lambda: NeuralCollapse(2, 2).update(GOOD, -LABELS), r"got -1 \.\. 0"),
    (lambda: NeuralCollapse(2, 2).update(GOOD, LABELS.float()), "labels must be an integer"),
    (lambda: NeuralCollapse(2, 2).update(GOOD[:0], LABELS[:0]), r"of shape \(N, 2\)"),
    (lambda: NeuralCollapse(2, 2).update(GOOD * torch.nan, LABELS), "must be finite"),
    (lambda: ClassMeans(2).update(GOOD * torch.inf, LABELS), "must be finite"),
    (lambda: ClassMeans(1), "num_classes must be an integer >= 2, got 1"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_metric_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_metric_names_missing_classes_and_recovers():
    features, labels, classifier, _ = mixture(0, [5, 5, 5], 4)
    metric = NeuralCollapse(3, 4, classifier=classifier)
    metric.update(features[labels != 1], labels[labels != 1])
    with pytest.raises(ValueError, match=r"none of \[1\]"):
        metric.compute()
    with pytest.raises(ValueError, match="must be finite"):
        metric.update(features * torch.nan, labels)
    metric.update(features[labels == 1], labels[labels == 1])
    assert_same(metric.compute(), one_shot(features, labels, classifier))


def distributed_data():
    return mixture(5, [40, 30, 20], 6, noise=1e-4, offset=20.0)


def measure_on_rank(rank, folder):
    """Rank 0 sees five batches without class 2, rank 1 the rest in one; then both see more."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    features, labels, classifier, _ = distributed_data()
    mine = (labels != 2) & (torch.arange(90) % 2 == 0)
    mine = mine.nonzero().flatten() if rank == 0 else (~mine).nonzero().flatten()
    parts = [(features[rows], labels[rows]) for rows in mine.tensor_split(5 if rank == 0 else 1)]
    metric = updated(NeuralCollapse(3, 6, classifier=classifier), parts)
    means = updated(ClassMeans(3, 6), parts).compute()
    twice = updated(NeuralCollapse(3, means=means, classifier=classifier), parts)
    first = metric.compute(), twice.compute()
    metric.update(features[rank : rank + 7] + 1, labels[rank : rank + 7])
    torch.save([first, metric.compute()], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_metric_on_two_processes(tmp_path):
    torch.multiprocessing.spawn(measure_on_rank, (str(tmp_path),), nprocs=2)
    features, labels, classifier, _ = distributed_data()
    more = [(features[rank : rank + 7] + 1, labels[rank : rank + 7]) for rank in range(2)]
    rows, classes = zip((features, labels), *more, strict=True)
    for rank in range(2):
        first, second = torch.load(tmp_path / f"{rank}.pt")
        assert_same(first[0], one_shot(features, labels, classifier))
        assert_same(first[1], one_shot(features, labels, classifier, nc4=True))
        assert_same(second, one_shot(torch.cat(rows), torch.cat(classes), classifier))

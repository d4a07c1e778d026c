"""SG block: compared with equations 2-7 evaluated node by node in double precision."""

import copy
import io
import math
import pickle
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from anomalib_slsg.networks import SGBlock, sg_block
from tests.support.models import SG_SWITCHES

SIZES = [(3, 5), (4, 3)]
SWITCHES = {
    **SG_SWITCHES,
    "graph alone, with positions": {"attention": False, "eliminate_position": False, "num_neighbors": 3},
}


@dataclass
class Slow:
    """What the slow evaluation gives."""

    output: Tensor
    neighbors: list[list[list[int]]]


def _position_code(row: int, column: int, length: int) -> list[float]:
    """Reference 49 in two dimensions: sines and cosines of the row, then of the column, at falling frequencies."""
    quarter = length // 4
    code = []
    for coordinate in (row, column):
        for i in range(quarter):
            angle = coordinate / 10000 ** (i / quarter)
            code += [math.sin(angle), math.cos(angle)]
    return code


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / ((a * a).sum().sqrt() * (b * b).sum().sqrt())


def _linear(block: SGBlock, name: str, node: Tensor) -> Tensor:
    layer = getattr(block, name)
    return layer.weight[:, :, 0, 0] @ node + layer.bias


def _slow(block: SGBlock, x: Tensor) -> Slow:
    """Equations 2-7, one node at a time."""
    channels, height, width = x.shape[1:]
    places = [(row, column) for row in range(height) for column in range(width)]
    codes = [torch.tensor(_position_code(*place, channels), dtype=x.dtype) for place in places]
    count = min(block.num_neighbors, len(places))
    outputs, neighbors = [], []
    for image in x:
        nodes = [image[:, row, column] for row, column in places]
        queries = [_linear(block, "query", node) for node in nodes]
        keys = [_linear(block, "key", node) for node in nodes]
        values = [_linear(block, "value", node) for node in nodes] if block.attention else []
        updated, chosen = [], []
        for i, node in enumerate(nodes):
            parts = []
            if block.attention:
                scores = [(queries[i] * key).sum() / math.sqrt(len(key)) for key in keys]
                exponentials = [score.exp() for score in scores]
                total = sum(exponentials)
                dense = [exponential / total for exponential in exponentials]  # equation 2
                parts.append(sum(weight * value for weight, value in zip(dense, values, strict=True)))  # equation 3
            sparse = [_cosine(queries[i], key).item() for key in keys]
            if block.eliminate_position:
                for j, code in enumerate(codes):
                    sparse[j] -= _cosine(codes[i], code).item()  # equations 4 and 5
            chosen.append(sorted(range(len(nodes)), key=lambda j: -sparse[j])[:count])
            if block.graph:
                differences = [nodes[j] - node for j in chosen[-1]]
                parts.append(torch.stack(differences).max(dim=0).values)  # equation 6
            result = _linear(block, "update", torch.cat(parts))  # equation 7
            updated.append(result)
        outputs.append(torch.stack(updated, dim=1).view(channels, height, width))
        neighbors.append(chosen)
    return Slow(torch.stack(outputs), neighbors)


def _block(channels: int = 8, seed: int = 0, **options: object) -> SGBlock:
    torch.manual_seed(seed)
    return SGBlock(channels, **options).double()  # type: ignore[arg-type]


def _input(height: int, width: int, channels: int = 8, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(100 * height + width)
    return torch.randn(batch, channels, height, width, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("options", SWITCHES.values(), ids=SWITCHES.keys())
def test_output_neighbors_and_gradients_equal_the_equations(options: dict, size: tuple[int, int]) -> None:
    block = _block(**options)
    x = _input(*size).requires_grad_()
    output, slow = block(x), _slow(block, x)
    torch.testing.assert_close(output, slow.output, rtol=1e-10, atol=1e-12)
    if block.graph:
        assert block.neighbors(x).tolist() == slow.neighbors
    trained = [parameter for parameter in block.parameters() if parameter.requires_grad]
    direction = torch.randn(output.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    fast_gradients = torch.autograd.grad((output * direction).sum(), [x, *trained])
    slow_gradients = torch.autograd.grad((slow.output * direction).sum(), [x, *trained])
    for fast, expected in zip(fast_gradients, slow_gradients, strict=True):
        torch.testing.assert_close(fast, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("options", SWITCHES.values(), ids=SWITCHES.keys())
def test_gradients_equal_finite_differences(options: dict) -> None:
    block = _block(channels=4, **{**options, "num_neighbors": 3})
    names = [name for name, parameter in block.named_parameters() if parameter.requires_grad]
    parameters = [block.get_parameter(name) for name in names]

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return functional_call(block, dict(zip(names, values, strict=True)), (x,))

    x = _input(2, 3, channels=4, batch=1).requires_grad_()
    assert torch.autograd.gradcheck(run, (x, *parameters))


def test_four_convolutions_have_the_papers_names_and_widths() -> None:
    shapes = {name: tuple(parameter.shape) for name, parameter in SGBlock(12).named_parameters()}
    assert shapes == {
        "query.weight": (6, 12, 1, 1),
        "query.bias": (6,),
        "key.weight": (6, 12, 1, 1),
        "key.bias": (6,),
        "value.weight": (12, 12, 1, 1),
        "value.bias": (12,),
        "update.weight": (12, 24, 1, 1),
        "update.bias": (12,),
    }


def test_neighbors_are_sorted_and_far_ones_win_without_position() -> None:
    """A constant image leaves nothing but the positional similarity, so the most distant nodes are chosen."""
    block = _block(channels=16, num_neighbors=4)
    x = torch.ones(1, 16, 5, 6, dtype=torch.float64)
    neighbors = block.neighbors(x)
    assert neighbors.shape == (1, 30, 4)
    similarity = -sg_block.positional_similarity(5, 6, 16)
    chosen = similarity.gather(1, neighbors[0])
    torch.testing.assert_close(chosen, similarity.sort(dim=1, descending=True).values[:, :4])
    assert 0 not in neighbors[0, 0].tolist()


def test_self_is_no_more_similar_than_others_once_position_is_eliminated() -> None:
    """Equation 5 takes 1, the largest possible value, from each node's similarity with itself."""
    x = _input(6, 6)
    own = torch.arange(36).view(1, 36, 1)
    with_position = _block(eliminate_position=False)
    with_position.key.load_state_dict(with_position.query.state_dict())
    assert (with_position.neighbors(x)[..., :1] == own).all()
    without = _block(eliminate_position=True)
    without.key.load_state_dict(without.query.state_dict())
    assert (without.neighbors(x)[..., 0] == own[..., 0]).float().mean() < 0.1


@pytest.mark.parametrize("size", [(2, 2), (1, 1), (1, 7)], ids=str)
def test_maps_with_fewer_nodes_than_neighbors_use_all_of_them(size: tuple[int, int]) -> None:
    block, x = _block(), _input(*size)
    number = size[0] * size[1]
    neighbors = block.neighbors(x)
    assert neighbors.shape == (2, number, number)
    assert (neighbors.sort(dim=-1).values == torch.arange(number)).all()
    torch.testing.assert_close(block(x), _slow(block, x).output)


def test_block_without_any_relation_is_refused() -> None:
    with pytest.raises(ValueError, match="without attention and without graph"):
        SGBlock(8, attention=False, graph=False)


def test_random_projections_of_a_block_without_attention_are_not_trained() -> None:
    trained = {name for name, parameter in SGBlock(8, attention=False).named_parameters() if parameter.requires_grad}
    assert trained == {"update.weight", "update.bias"}


@pytest.mark.parametrize("channels", [512, 112, 30], ids=str)
def test_bfloat16_autocast_chooses_neighbors_in_single_precision(channels: int) -> None:
    torch.manual_seed(0)
    block = SGBlock(channels).eval()
    x = torch.randn(2, channels, 8, 10).relu().bfloat16().float()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output, neighbors = block(x), block.neighbors(x)
        query, key = block.query(x), block.key(x)
    assert query.dtype == output.dtype == torch.bfloat16
    exact, low = block(x), block.neighbors(x)
    assert torch.isfinite(output).all()
    similarity = partial(torch.einsum, "bci,bcj->bij")
    query, key = (nodes.flatten(2).double() for nodes in (query, key))
    positions = sg_block.positional_similarity(8, 10, block.position_channels)
    ranked = similarity(query / query.norm(dim=1, keepdim=True), key / key.norm(dim=1, keepdim=True)) - positions
    chosen = ranked.gather(2, neighbors)
    # equal up to the rounding of single precision; bfloat16 would be wrong by some 1e-3
    torch.testing.assert_close(chosen, ranked.topk(9).values, rtol=0, atol=1e-6)
    shared = (neighbors[..., :, None] == low[..., None, :]).any(dim=-1).double().mean()
    assert shared > 0.97
    assert (output.float() - exact).abs().mean() < 0.02 * exact.abs().mean() + 0.02


def test_half_precision_weights_work() -> None:
    block = SGBlock(16).bfloat16()
    x = torch.randn(1, 16, 4, 6).bfloat16()
    assert block(x).dtype == torch.bfloat16
    assert block.neighbors(x).shape == (1, 24, 9)


def test_positions_are_computed_once_for_each_size_and_type(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    original = sg_block.positional_similarity

    def count(height: int, width: int, channels: int) -> Tensor:
        computed.append((height, width))
        return original(height, width, channels)

    monkeypatch.setattr(sg_block, "positional_similarity", count)
    block = _block()
    for _ in range(3):
        block(_input(3, 5))
        block.neighbors(_input(3, 5))
        block(_input(5, 3))
    assert computed == [(3, 5), (5, 3)]
    block.float()
    output = block(_input(3, 5).float())
    assert output.dtype == torch.float32
    assert computed == [(3, 5), (5, 3), (3, 5)]


def test_copies_and_pickles_leave_the_cached_positions_out(monkeypatch: pytest.MonkeyPatch) -> None:
    block, x = _block(), _input(6, 6)
    unused = len(pickle.dumps(block))
    expected = block(x)
    assert len(pickle.dumps(block)) == unused
    saved = io.BytesIO()
    torch.save(block, saved)
    saved.seek(0)
    others = [copy.deepcopy(block), pickle.loads(pickle.dumps(block)), torch.load(saved, weights_only=False)]
    computed = []
    original = sg_block.positional_similarity
    monkeypatch.setattr(sg_block, "positional_similarity", lambda *size: (computed.append(size), original(*size))[1])
    for other in others:
        torch.testing.assert_close(other(x), expected)
    assert len(computed) == len(others)
    assert block.state_dict().keys() == others[0].state_dict().keys()
    block(x)
    assert len(computed) == len(others), "copying must not empty the original's cache"


def test_position_code_is_the_two_dimensional_sine_cosine_code() -> None:
    codes = sg_block.position_encoding(3, 4, 8)
    for index, code in enumerate(codes):
        expected = torch.tensor(_position_code(index // 4, index % 4, 8), dtype=torch.float64)
        torch.testing.assert_close(code.sort().values, expected.sort().values)
    similarity = sg_block.positional_similarity(3, 4, 8)
    torch.testing.assert_close(similarity.diagonal(), torch.ones(12, dtype=torch.float64))
    torch.testing.assert_close(similarity, similarity.T)
    assert similarity[0, 1] > similarity[0, 2] > similarity[0, 3]


@pytest.mark.parametrize("attention", [True, False])
def test_neighbors_are_alike_from_the_start(attention: bool) -> None:
    """Fig. 8: of a chessboard of two kinds of nodes, neighbours are of the same kind, though others lie as near."""
    kinds = torch.arange(8)[:, None].add(torch.arange(8)).remainder(2).flatten()
    for seed in range(4):
        torch.manual_seed(seed)
        block = SGBlock(32, attention=attention)
        features = torch.randn(2, 32)[kinds] + 0.2 * torch.randn(64, 32)
        neighbors = block.neighbors(features.T.reshape(1, 32, 8, 8))[0]
        assert (kinds[neighbors] == kinds[:, None]).float().mean() > 0.95

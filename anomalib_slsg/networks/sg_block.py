"""SG block: self-attention for dense and graph convolution for sparse relations (section 3.3, equations 2-7)."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from anomalib_slsg.utils.precision import full_precision


class SGBlock(nn.Module):
    """Self-attention-based graph convolutional block (section 3.3, Fig. 4).

    Args:
        in_channels: Channels C of the bottleneck; the output has as many.
        num_neighbors: Neighbours K of each node (Table 6: 7, 9, 11); a map with fewer nodes uses all of them.
        attention: Model dense relations by self-attention, equations 2-3 (Table 6, experiments 1, 2, 4). Without it
            nothing trains f and g, which stay as they were initialised.
        graph: Model sparse relations by graph convolution, equations 4-6 (Table 6, experiments 1-3).
        eliminate_position: Subtract the positional similarity in equation 5 (Table 6, experiment 5).

    Raises:
        ValueError: If neither attention nor graph is wanted.
    """

    def __init__(
        self,
        in_channels: int,
        num_neighbors: int = 9,
        attention: bool = True,
        graph: bool = True,
        eliminate_position: bool = True,
    ) -> None:
        super().__init__()
        if not (attention or graph):
            raise ValueError(
                "an SG block without attention and without graph does nothing; leave the block out instead"
            )
        self.num_neighbors = num_neighbors
        self.attention = attention
        self.graph = graph
        self.eliminate_position = eliminate_position
        self.position_channels = 4 * max(in_channels // 4, 1)
        key_channels = in_channels // 2
        self.query = nn.Conv2d(in_channels, key_channels, kernel_size=1)  # f
        self.key = nn.Conv2d(in_channels, key_channels, kernel_size=1)  # g
        # alike nodes have to be similar: the cosine of two projections that have nothing in common says nothing of them
        self.key.load_state_dict(self.query.state_dict())
        if attention:
            self.value = nn.Conv2d(in_channels, in_channels, kernel_size=1)  # h
        else:  # top-k passes no gradient to f and g: they stay random projections
            self.query.requires_grad_(False)
            self.key.requires_grad_(False)
        self.update = nn.Conv2d(in_channels * (attention + graph), in_channels, kernel_size=1)  # u
        self._positions: dict[tuple[int, int, torch.device, torch.dtype], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Relate every node to all others and to its K nearest.

        Args:
            x: Bottleneck X of shape (B, C, H, W).

        Returns:
            X' of the same shape (equation 7).
        """
        height, width = x.shape[-2:]
        query, key = _nodes(self.query(x)), _nodes(self.key(x))  # (B, N, C / 2)
        parts = []
        if self.attention:
            parts.append(_feature_map(attend(query, key, _nodes(self.value(x))), height, width))
        if self.graph:
            indices = self._top_neighbors(query, key, height, width)
            parts.append(_feature_map(max_relative(_nodes(x), indices), height, width))
        return self.update(torch.cat(parts, dim=1))

    def neighbors(self, x: Tensor) -> Tensor:
        """Find the edges of the graph (section 3.3, "Sparse Relationships").

        Args:
            x: Bottleneck X of shape (B, C, H, W).

        Returns:
            Node indices of shape (B, N, K) with N = H W in row-major order, most similar first.
        """
        return self._top_neighbors(_nodes(self.query(x)), _nodes(self.key(x)), *x.shape[-2:])

    @torch.no_grad()
    def _top_neighbors(self, query: Tensor, key: Tensor, height: int, width: int) -> Tensor:
        # single precision: neighbours differ by less than bfloat16 resolves; top-k passes no gradient anyway
        dtype = torch.promote_types(query.dtype, torch.float32)
        with full_precision(query.device):
            query = functional.normalize(query.to(dtype), dim=-1)
            key = functional.normalize(key.to(dtype), dim=-1)
            similarity = query @ key.transpose(1, 2)  # (B, N, N), equation 5
            if self.eliminate_position:
                similarity = similarity - self._positional_similarity(height, width, query)
        return similarity.topk(min(self.num_neighbors, height * width), dim=-1).indices

    def _positional_similarity(self, height: int, width: int, like: Tensor) -> Tensor:
        cache_key = (height, width, like.device, like.dtype)
        if torch.compiler.is_compiling():  # the exported graph holds the positions as a constant of its own
            return positional_similarity(height, width, self.position_channels).to(like)
        if cache_key not in self._positions:
            self._positions[cache_key] = positional_similarity(height, width, self.position_channels).to(like)
        return self._positions[cache_key]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the cached positions out of pickles and copies: they are recomputed on the device of first use."""
        return {**self.__dict__, "_positions": {}}


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Relate every node to all others (equations 2-3).

    Args:
        query: f(X) of shape (B, N, C / 2).
        key: g(X) of shape (B, N, C / 2).
        value: h(X) of shape (B, N, C).

    Returns:
        Weighted sums of the values, of shape (B, N, C).
    """
    # kernels and ONNX want an axis of heads; there is one
    heads = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)  # (B, 1, N, C)
    return functional.scaled_dot_product_attention(heads[0], heads[1], heads[2]).squeeze(1)


def position_encoding(height: int, width: int, channels: int) -> Tensor:
    """Two-dimensional sine-cosine position code (section 3.3, reference 49).

    The first half of the channels encodes the row, the second the column; each half is the sine, then the cosine, of
    the coordinate times the frequencies ``10000 ** (-i / (channels / 4))``, ``i = 0 ... channels / 4 - 1``.

    Args:
        height: Rows of the feature map.
        width: Columns of the feature map.
        channels: Length C_p of the code, a multiple of 4.

    Returns:
        Codes of shape (height * width, channels), float64, in row-major order.
    """
    frequencies = torch.exp(-math.log(10000.0) * torch.arange(channels // 4, dtype=torch.float64) / (channels // 4))
    codes = []
    for length in (height, width):
        angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
        codes.append(torch.cat([angles.sin(), angles.cos()], dim=-1))
    rows = codes[0][:, None].expand(height, width, -1)
    columns = codes[1][None].expand(height, width, -1)
    return torch.cat([rows, columns], dim=-1).reshape(height * width, channels)


def positional_similarity(height: int, width: int, channels: int) -> Tensor:
    """Cosine similarity of the nodes' position codes (equation 4).

    Args:
        height: Rows of the feature map.
        width: Columns of the feature map.
        channels: Length C_p of the code, a multiple of 4.

    Returns:
        W_p of shape (N, N), N = height * width, float64.
    """
    codes = functional.normalize(position_encoding(height, width, channels), dim=-1)
    return codes @ codes.T


def max_relative(nodes: Tensor, indices: Tensor) -> Tensor:
    """Aggregate each node's neighbours by the largest difference per channel (equation 6).

    Args:
        nodes: Node features v of shape (B, N, C).
        indices: Neighbours of shape (B, N, K).

    Returns:
        v' of shape (B, N, C).
    """
    batch, number, channels = nodes.shape
    flat = indices.reshape(batch, -1, 1).expand(-1, -1, channels)
    gathered = nodes.gather(1, flat).view(batch, number, -1, channels)  # (B, N, K, C)
    return gathered.amax(dim=2) - nodes


def _nodes(feature_map: Tensor) -> Tensor:
    return feature_map.flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, N, C)


def _feature_map(nodes: Tensor, height: int, width: int) -> Tensor:
    return nodes.transpose(1, 2).unflatten(2, (height, width))  # (B, N, C) -> (B, C, H, W)

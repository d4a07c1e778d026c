"""Options of SegNet, as plain data for YAML, the command line and checkpoints."""

from dataclasses import dataclass
from typing import ClassVar

from anomalib_slsg.utils.options import Options, number, numbers


@dataclass(frozen=True)
class NetworkOptions(Options):
    """How SegNet is built (sections 3.3 and 4.2); every ablation of Table 6 is a value here.

    Args:
        stem_pool: Keep the max-pool of a ResNet's stem; off as in the paper's network.
        decoder_channels: Channels after each of the decoder's four blocks. Half as many cost a third of the decoder's
            arithmetic, and together with ``stem_pool`` a quarter of the network's.
        attention: Self-attention in the SG block (Table 6, "Self-Attention").
        graph: Graph convolution in the SG block (Table 6, "GCN").
        eliminate_position: Subtract the positional similarity when neighbours are chosen (Table 6, "Eliminate PS").
        num_neighbors: Neighbours of each node of the graph, at least 1 (Table 6, "TopK").
        bottleneck_skip: Feed the SG block's output to all blocks of the decoder (Table 6, "Bottleneck Skip").
        score_pixels: The image score is the mean of this many of the highest pixels of a 256x256 map, at least 1; other
            maps take the same share of their pixels (section 4.2).

    Raises:
        ValueError: If a value lies outside its range. The message names the option.
    """

    group: ClassVar[str] = "network"
    stem_pool: bool = False
    decoder_channels: tuple[int, int, int, int] = numbers((256, 128, 64, 32), "[1, inf)")
    attention: bool = True
    graph: bool = True
    eliminate_position: bool = True
    num_neighbors: int = number(9, "[1, inf)")
    bottleneck_skip: bool = True
    score_pixels: int = number(100, "[1, inf)")

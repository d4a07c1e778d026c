"""The networks of the paper."""

from anomalib_slsg.networks.d_net import DNet
from anomalib_slsg.networks.decoder import Decoder
from anomalib_slsg.networks.encoder import ResNetEncoder
from anomalib_slsg.networks.gpt_net import GPTNet
from anomalib_slsg.networks.options import NetworkOptions
from anomalib_slsg.networks.seg_net import SegNet
from anomalib_slsg.networks.sg_block import SGBlock

__all__ = ["DNet", "Decoder", "GPTNet", "NetworkOptions", "ResNetEncoder", "SGBlock", "SegNet"]

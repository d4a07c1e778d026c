"""GPT-Net: two reconstructions, one of them from the bottleneck alone."""

import torch

from anomalib_slsg.networks import GPTNet, ResNetEncoder


def test_both_reconstructions_are_images() -> None:
    network = GPTNet().eval()
    with torch.no_grad():
        reconstruction, auxiliary = network(torch.randn(2, 3, 32, 48))
    assert reconstruction.shape == auxiliary.shape == (2, 3, 32, 48)
    for images in (reconstruction, auxiliary):
        assert images.dtype == torch.float32
        assert images.min() >= 0
        assert images.max() <= 1
        assert images.std() > 0


def test_auxiliary_reconstruction_knows_the_bottleneck_alone() -> None:
    """Section 3.1, point 2: it trains the deepest layers because nothing else leads to it."""
    network = GPTNet(ResNetEncoder("regnetx_002"))
    features = [map_.detach().requires_grad_() for map_ in network.encoder(torch.randn(2, 3, 32, 32))]
    network.encoder.forward = lambda _: features  # type: ignore[method-assign]
    reconstruction, auxiliary = network(torch.empty(2, 3, 32, 32))
    gradients = torch.autograd.grad(auxiliary.sum(), features, allow_unused=True, retain_graph=True)
    assert [gradient is not None for gradient in gradients] == [False, False, False, True]
    assert all(gradient.abs().sum() > 0 for gradient in torch.autograd.grad(reconstruction.sum(), features))


def test_given_encoder_is_the_one_that_is_trained() -> None:
    encoder = ResNetEncoder("regnetx_002")
    network = GPTNet(encoder)
    assert network.encoder is encoder
    reconstruction, auxiliary = network(torch.randn(2, 3, 32, 32))
    (reconstruction.mean() + auxiliary.mean()).backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_low_precision_ends_at_the_reconstruction() -> None:
    network = GPTNet(ResNetEncoder("regnetx_002")).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert {images.dtype for images in network(torch.randn(1, 3, 32, 32))} == {torch.float32}

"""The GAN of the pre-training: GPT-Net, D-Net, their optimisers and one training step (section 3.4)."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from anomalib_slsg.networks import DNet, GPTNet
from anomalib_slsg.pretraining.losses import discriminator_loss, generator_loss
from anomalib_slsg.pretraining.masking import inpainting_mask
from anomalib_slsg.pretraining.options import PretrainingOptions


class InpaintingGAN:
    """GPT-Net and D-Net in training.

    Args:
        gpt_net: The generator, with the encoder to pre-train; trained in place.
        options: Rates and weights.
        precision: The trainer's precision plugin.
        device: Device of the networks.
        fast_autocast: Makes a context for forward passes, inside that of the precision plugin.
    """

    def __init__(
        self,
        gpt_net: GPTNet,
        options: PretrainingOptions,
        precision: Precision,
        device: torch.device,
        fast_autocast: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        self._options = options
        self._precision = precision
        self._fast_autocast = fast_autocast
        # without 16-bit floats it changes nothing
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision.precision == "16-mixed")
        self.gpt_net = self._place(gpt_net, device)
        self.d_net = self._place(DNet(), device)
        self._generator_optimizer = Adam(self.gpt_net.parameters(), lr=options.generator_learning_rate)
        self._discriminator_optimizer = Adam(self.d_net.parameters(), lr=options.discriminator_learning_rate)
        if torch.distributed.is_initialized():
            for tensor in (*self.gpt_net.state_dict().values(), *self.d_net.state_dict().values()):
                torch.distributed.broadcast(tensor, src=0)

    def step(self, images: Tensor, normalised: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Train both networks on one batch.

        Args:
            images: Images in [0, 1] of shape (B, 3, H, W).
            normalised: The same images as the encoder takes them.
            mask: 1 where the image is hidden, of shape (B, 1, H, W).

        Returns:
            The loss terms, detached, by name.
        """
        weights = self._options
        adversarial = weights.adversarial_weight > 0
        with self.forward_context():
            reconstruction, auxiliary = self.gpt_net(normalised * (1 - mask))
        losses: dict[str, Tensor] = {}
        if adversarial:
            # each in a batch of its own, as the generator's turn below: in one batch of both, batch norm would make
            # another function of D-Net
            with self.forward_context():
                judged_reconstruction, judged_images = self.d_net(reconstruction.detach()), self.d_net(images)
            loss = discriminator_loss(judged_reconstruction, judged_images)
            self._optimise(self._discriminator_optimizer, loss, self.d_net)
            losses["discriminator"] = loss
        # frozen for the generator's turn: its gradient passes through D-Net without being gathered there
        self.d_net.requires_grad_(False)
        with self.forward_context():
            judged = self.d_net(reconstruction) if adversarial else torch.ones_like(images[:, :1])
        self.d_net.requires_grad_(True)
        terms = generator_loss(judged, reconstruction, auxiliary, images)
        total = (
            weights.adversarial_weight * terms.adversarial
            + weights.l1_weight * terms.l1
            + weights.auxiliary_weight * terms.auxiliary
        )
        self._optimise(self._generator_optimizer, total, self.gpt_net)
        self._scaler.update()
        losses |= {**terms._asdict(), "generator": total}
        return {name: value.detach() for name, value in losses.items()}

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        """Precision of forward passes."""
        with self._precision.forward_context(), self._fast_autocast():
            yield

    def state_dict(self) -> dict[str, Any]:
        """Collect all states, so that training can go on from here."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        return {
            "gpt_net": self.gpt_net,
            "d_net": self.d_net,
            "generator_optimizer": self._generator_optimizer,
            "discriminator_optimizer": self._discriminator_optimizer,
            "scaler": self._scaler,
        }

    def _place(self, module: nn.Module, device: torch.device) -> Any:
        module = module.to(device).to(memory_format=torch.channels_last)
        module = self._precision.convert_module(module)
        return module.train().requires_grad_(True)

    def _optimise(self, optimizer: Optimizer, loss: Tensor, module: nn.Module) -> None:
        optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        _average_gradients(module.parameters())
        self._scaler.step(optimizer)


def draw_masks(options: PretrainingOptions, images: Tensor, generator: torch.Generator) -> Tensor:
    """Draw what GPT-Net does not see of images.

    Args:
        options: Sizes and numbers of what is hidden.
        images: Of shape (B, 3, H, W).
        generator: CPU generator.

    Returns:
        1 where an image is hidden, of shape (B, 1, H, W).
    """
    size = (images.shape[-2], images.shape[-1])
    grid, large = (options.patch_size, options.mask_ratio), (options.large_masks, options.large_mask_sides)
    return inpainting_mask(len(images), size, generator, *grid, *large, device=images.device)


def _average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average gradients over the ranks, in one message."""
    if not torch.distributed.is_initialized():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for gradient, averaged in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(averaged.view_as(gradient))

"""One training step: gather, augment, forward, backward, optimizer. On a GPU it is replayed from a CUDA graph."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel

from fervit.model import LatentViT
from fervit.system.gpu import Capture, index_of, try_capture, work_lock, work_stream
from fervit.training.config import TrainConfig
from fervit.training.data import Batch, DeviceLatents
from fervit.training.ranks import Ranks

BATCH_TENSORS = ("rows", "partners", "mix", "weight")
EAGER_STEPS = 3
"""The number of steps before a capture, in which libraries choose algorithms and the optimizer makes its state."""


class Outcome(NamedTuple):
    """The result of a step. Its tensors are on the device, so that the host need not wait for the step to finish."""

    loss: Tensor
    """This rank's part of the mean loss of the global batch, a scalar."""
    hits: Tensor
    """The number of this rank's rows that the forward pass classified correctly, an int64 scalar."""


class ShortWeights:
    """Copies of the weights of all matrix products in a shorter type, which a step reads and which get its gradients.

    Autocast converts each weight and each gradient by itself, in two small kernels for each. The copies are made
    together; the numbers are the same.

    Args:
        model: the model, whose weights stay as they are.
        dtype: the type of the copies.
    """

    def __init__(self, model: LatentViT, dtype: torch.dtype) -> None:
        norms = [part for part in model.modules() if isinstance(part, nn.LayerNorm)]
        others = {model.cls_token, model.pos_emb, *(weight for norm in norms for weight in norm.parameters())}
        self._model = model
        self._weights = {name: weight for name, weight in model.named_parameters() if weight not in others}
        self._copies = {
            name: torch.empty_like(weight, dtype=dtype).requires_grad_() for name, weight in self._weights.items()
        }

    def __call__(self, codes_nld: Tensor) -> Tensor:
        """Codes [n, seq_len, latent_dim] -> logits, within autocast, by copies of the weights as they are now."""
        copies = list(self._copies.values())
        with torch.no_grad():
            torch._foreach_copy_(copies, list(self._weights.values()))
        for copied in copies:
            copied.grad = None
        logits: Tensor = functional_call(self._model, self._copies, (codes_nld,))
        return logits

    @torch.no_grad()
    def give_gradients(self) -> None:
        """Copies the gradients to the weights."""
        for weight in self._weights.values():
            weight.grad = torch.empty_like(weight)
        gradients: list[Tensor] = [weight.grad for weight in self._weights.values() if weight.grad is not None]
        torch._foreach_copy_(gradients, [copied.grad for copied in self._copies.values() if copied.grad is not None])


class TrainingStep:
    """Runs the steps of a training.

    Args:
        model: the model to train.
        optimizer: the optimizer of its parameters.
        config: the hyperparameters.
        data: the training split.
        class_weights: the weight of each class in the loss, float32 [classes].
        statistics: the mean and the standard deviation of the training codes, [seq_len, latent_dim] each; None if no
            augmentation needs them.
        dtype: the type that matrix products are computed in.
        ranks: the processes that train together.
        capture: whether to replay steps from a CUDA graph, which takes a GPU and a single rank.
    """

    def __init__(
        self,
        model: LatentViT,
        optimizer: torch.optim.Optimizer,
        config: TrainConfig,
        data: DeviceLatents,
        *,
        class_weights: Tensor,
        statistics: tuple[Tensor, Tensor] | None,
        dtype: torch.dtype,
        ranks: Ranks,
        capture: bool = True,
    ) -> None:
        self.model, self.optimizer, self.config, self.data = model, optimizer, config, data
        self.class_weights, self.statistics, self.dtype, self.ranks = class_weights, statistics, dtype, ranks
        self._network: nn.Module = model
        if ranks.world > 1:
            # The buffers are statistics of the training codes, which are the same on all ranks.
            gpu = [data.device] if model_on_gpu(model) else None
            self._network = DistributedDataParallel(model, device_ids=gpu, broadcast_buffers=False)
        self._capture = capture and ranks.world == 1 and model_on_gpu(model) and data.resident
        self.short: ShortWeights | None = None
        """The weights of a captured step in the type of its products; None if autocast converts them."""
        if self._capture and dtype != torch.float32:
            self.short = ShortWeights(model, dtype)
        self._captured: Capture | None = None
        self._eager_steps = 0

    @property
    def captured(self) -> bool:
        """Whether steps are replayed from a CUDA graph."""
        return self._captured is not None

    def __call__(self, batch: Batch) -> Outcome:
        if not self._capture or batch.total != self.config.batch_size:
            return self._eager(batch)
        if self._captured is None:
            if self._eager_steps < EAGER_STEPS:
                self._eager_steps += 1
                return self._on_work_stream(batch)
            self._try_to_capture(batch)
        if self._captured is None:
            return self._eager(batch)
        for name in BATCH_TENSORS:
            getattr(self._input, name).copy_(getattr(batch, name))
        self._captured.graph.replay()
        loss, hits = self._captured.result
        return Outcome(loss.clone(), hits.clone())

    def _eager(self, batch: Batch) -> Outcome:
        self.optimizer.zero_grad(set_to_none=True)
        outcome = self._forward_and_backward(batch)
        self._update()
        return outcome

    def _forward_and_backward(self, batch: Batch) -> Outcome:
        self.model.shard.start, self.model.shard.total = batch.start, batch.total
        codes, labels = self.data.batch(batch.rows)
        aims, labels_mixed = self.data.aims(batch.rows), labels
        if self.config.mixup:
            partners, labels_mixed = self.data.batch(batch.partners)
            codes = torch.lerp(partners, codes, batch.mix)
        codes = self._augment(codes, batch)
        with torch.autocast(
            codes.device.type, self.dtype, enabled=self.dtype != torch.float32, cache_enabled=not self._capture
        ):
            logits = self.short(codes) if self.short else self._network(codes)
        logits = logits.float()
        loss = self._cross_entropy(logits, aims)
        if self.config.mixup:
            loss = torch.lerp(self._cross_entropy(logits, self.data.aims(batch.partners)), loss, batch.mix)
            labels = torch.where(batch.mix >= 0.5, labels, labels_mixed)
        loss = loss / batch.weight
        (loss * self.ranks.world).backward()  # DDP takes the mean of the ranks' gradients
        if self.short:
            self.short.give_gradients()
        return Outcome(loss.detach(), (logits.detach().argmax(dim=1) == labels).sum())

    def _cross_entropy(self, logits: Tensor, aims: Tensor) -> Tensor:
        return F.cross_entropy(
            logits,
            aims,
            weight=self.class_weights,
            label_smoothing=self.config.label_smoothing,
            reduction="sum",
        )

    def _augment(self, codes: Tensor, batch: Batch) -> Tensor:
        """Adds noise and masks styles. On a CPU each rank draws for the whole batch and uses its own rows."""
        config = self.config
        if not (config.latent_noise or config.latent_mask):
            return codes
        assert self.statistics is not None
        mean, deviation = self.statistics
        on_gpu = codes.device.type == "cuda"
        drawn = len(codes) if on_gpu else batch.total
        own = slice(None) if on_gpu else slice(batch.start, batch.start + len(codes))
        if config.latent_noise:
            noise = torch.randn((drawn, *codes.shape[1:]), device=codes.device)[own]
            codes = codes + config.latent_noise * deviation * noise
        if config.latent_mask:
            masked = torch.rand((drawn, codes.shape[1], 1), device=codes.device)[own] < config.latent_mask
            codes = torch.where(masked, mean, codes)
        return codes

    def _update(self) -> None:
        if self.config.grad_clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        self.optimizer.step()

    def _on_work_stream(self, batch: Batch) -> Outcome:
        """Runs a step on the stream of the capture, as PyTorch requires before it. It trains like any other step."""
        device = self.data.device
        stream = work_stream(index_of(device))
        stream.wait_stream(torch.cuda.current_stream(device))
        with work_lock, torch.cuda.stream(stream):
            outcome = self._eager(batch)
        torch.cuda.current_stream(device).wait_stream(stream)
        return outcome

    def _try_to_capture(self, batch: Batch) -> None:
        """Captures a step without running it. If that fails, all steps run eagerly."""
        self._input = batch._replace(**{name: getattr(batch, name).clone() for name in BATCH_TENSORS})
        self.optimizer.zero_grad(set_to_none=True)  # the captured backward pass allocates its own gradients
        before = copy.copy(self.optimizer.param_groups[0])

        def work() -> Outcome:
            outcome = self._forward_and_backward(self._input)
            self._update()
            return outcome

        self._captured = try_capture(work, self.data.device)
        if self._captured is None:
            self.optimizer.param_groups[0].update(before)
            self._capture = False


def model_on_gpu(model: nn.Module) -> bool:
    """Whether the parameters of a model are on a GPU."""
    return next(model.parameters()).is_cuda

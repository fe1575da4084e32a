"""Whether numbers and failures are right on a GPU."""

from __future__ import annotations

import copy

import numpy as np
import torch

from benchmarks.acceptance.check import Found, check, passed
from benchmarks.acceptance.data import small_config, synchronize, trainer
from benchmarks.encode import encoder_of, random_network
from fervit.encoders.registry import load_encoder
from fervit.encoders.runner import EncoderRunner
from fervit.training.data import epoch_batches
from fervit.training.failure import OUT_OF_MEMORY, Failure, is_device_fault


@check("correct", "the GPU is visible, has kernels in this torch and computes a product")
def the_gpu_computes(device: str) -> Found:
    if device == "cuda" and not torch.cuda.is_available():
        return Found("FAIL", "torch.cuda.is_available() is False")
    a = torch.arange(256 * 256, device=device, dtype=torch.float32).reshape(256, 256) / 65536
    right = torch.allclose((a @ a).cpu(), a.cpu() @ a.cpu(), rtol=1e-4)
    archs = ", ".join(torch.cuda.get_arch_list()) if device == "cuda" else "on the CPU"
    return passed(right, f"a product of 256 x 256 is {'right' if right else 'WRONG'}; kernels: {archs}")


@check("correct", "codes in float16 are within 1e-3 of float32, and finite", expected="3.6e-4", limit_s=240)
def codes_in_float16_are_close(device: str) -> Found:
    plain, precision = random_network(), "float16" if device == "cuda" else "float32"
    batch = 64 if device == "cuda" else 1
    pixels = np.random.default_rng(0).integers(0, 256, (batch, 256, 256, 3), np.uint8)
    exact = encoder_of(plain, "float32", device)
    with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
        images = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        reference = exact(images).float().cpu()
    del exact
    codes = EncoderRunner(encoder_of(plain, precision, device), batch)(pixels).float()
    off = float((codes - reference).norm() / reference.norm())
    return passed(bool(codes.isfinite().all()) and off < 1e-3, f"{precision}: {off:.1e} off, {batch} pictures")


@check("correct", "the code of a picture is the same whatever is beside it in its batch")
def codes_do_not_depend_on_the_batch(device: str) -> Found:
    runner = EncoderRunner(load_encoder("demo").to(device), 16)
    size = runner.encoder.fingerprint.input_size
    pixels = np.random.default_rng(0).integers(0, 256, (40, size, size, 3), np.uint8)
    together, alone = runner(pixels), torch.cat([runner(pixels[i : i + 1]) for i in range(40)])
    return passed(torch.equal(together, alone), f"40 pictures, {float((together - alone).abs().max()):g} apart at most")


@check("correct", "captured steps train as eager ones, with plateau, cosine and warm-up")
def captured_steps_train_as_eager_ones(device: str) -> Found:
    texts, right = [], True
    for scheduler in ("plateau", "cosine"):
        losses: list[list[float]] = []
        for capture in (True, False):
            config = small_config(scheduler=scheduler, warmup_epochs=1.0, dropout=0.0)
            one = trainer(config, device, capture=capture)
            losses.append([one.run_epoch().val_loss for _ in range(4)])
            if capture and device == "cuda":
                right = right and one.captured
        apart = float(np.abs(np.array(losses[0]) - np.array(losses[1])).max())
        right = right and apart < 2e-2
        texts.append(f"{scheduler}: losses {apart:.1e} apart")
    return passed(right, "; ".join(texts))


@check("correct", "a lower learning rate reaches captured steps")
def a_lower_rate_reaches_captured_steps(device: str) -> Found:
    texts, right = [], True
    for scheduler in ("cosine", "plateau"):
        one = trainer(small_config(scheduler=scheduler, epochs=4, dropout=0.0), device)
        moved = []
        while not one.finished:
            before = [weight.detach().clone() for weight in one.model.parameters()]
            one.run_epoch()
            squares = sum(
                float((weight.detach() - old).square().sum())
                for weight, old in zip(one.model.parameters(), before, strict=True)
            )
            moved.append(squares**0.5)
            if scheduler == "plateau":
                for _ in range(12):  # as many epochs without a better macro-F1 halve the rate twice
                    one._learning_rate.after_epoch(0.0)
        right = right and moved[-1] < 0.5 * moved[0] and (one.captured or device == "cpu")
        texts.append(f"{scheduler}: weights moved by {moved[0]:.3f} in epoch 1 and {moved[-1]:.3f} in epoch 4")
    return passed(right, "; ".join(texts))


@check("correct", "a state saved on the CPU goes on on the GPU, captured again")
def a_state_moves_between_devices(device: str) -> Found:
    config = small_config(dropout=0.0)
    first = trainer(config, "cpu", rows=256)
    first.run_epoch()
    state = copy.deepcopy(first.state_dict())
    expected = first.run_epoch().val_loss
    second = trainer(config, device, rows=256)
    second.load_state_dict(state)
    got = second.run_epoch().val_loss
    captured = second.captured or device == "cpu"
    text = f"loss {got:.4f}, on the CPU {expected:.4f}; {'captured' if second.captured else 'eager'}"
    return passed(captured and abs(got - expected) < 2e-2, text)


@check("correct", "replays of a captured step draw dropout masks of their own")
def replays_draw_masks_of_their_own(device: str) -> Found:
    one = trainer(small_config(dropout=0.5, lr=1e-12), device)
    one.run_epoch()
    (batch, *_) = epoch_batches(one.config, 1, torch.zeros_like(one._rows), one._row_weights, one.ranks)
    one.model.train()
    losses = {float(one.step(batch).loss) for _ in range(8)}
    right = len(losses) == 8 and (one.captured or device == "cpu")
    return passed(right, f"{len(losses)} losses of 8 steps on identical rows")


@check("correct", "many trials in one process take no more memory than a few")
def memory_does_not_grow_from_trial_to_trial(device: str) -> Found:
    if device == "cpu":
        trainer(small_config(), device, rows=256).run_epoch()
        return Found("INFO", "on the CPU: one trial")
    used = []
    for i in range(16):
        trainer(small_config(seed=i), device).run_epoch()
        torch.cuda.empty_cache()
        synchronize(device)
        free, total = torch.cuda.mem_get_info()
        used.append((total - free) / 2**20)
    growth = used[-1] - used[3]
    return passed(growth < 64, f"{growth:.0f} MiB more after 16 trials than after 4 ")


@check("correct", "too little memory is told as such, and the next training runs")
def short_memory_is_told(device: str) -> Found:
    try:
        torch.empty(2**50, dtype=torch.uint8, device=device)
        kind = "nothing"
    except (RuntimeError, MemoryError) as error:
        kind = Failure.of(error).kind
    loss = trainer(small_config(), device, rows=256).run_epoch().val_loss
    return passed(kind == OUT_OF_MEMORY and loss == loss, f"told as {kind!r}; the next training's loss {loss:.3f}")


@check("correct", "an error that stays in the GPU is told from others, so that a new process goes on")
def a_device_fault_is_told(device: str) -> Found:
    if device == "cpu":
        return passed(
            is_device_fault(RuntimeError("CUDA error: device-side assert triggered")), "by its text, on the CPU"
        )
    try:
        torch.zeros(4, device=device)[torch.tensor([9], device=device)]
        synchronize(device)
    except RuntimeError as error:
        return passed(is_device_fault(error), str(error).splitlines()[0][:80])
    return Found("FAIL", "an index out of range raised nothing")


@check("correct", "TF32 is off inside the encoder in float32, whatever the process has set")
def float32_is_float32(device: str) -> Found:
    if device == "cpu":
        return Found("INFO", "on the CPU there is no TF32")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    plain = random_network()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 256, 256, 3), np.uint8)
    codes = EncoderRunner(encoder_of(plain, "float32", device), 8)(pixels).float()
    with torch.inference_mode():
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        reference = encoder_of(plain, "float32", "cpu")(images).float()
    off = float((codes - reference).norm() / reference.norm())
    return passed(off < 2e-5, f"{off:.1e} off the CPU's float32")

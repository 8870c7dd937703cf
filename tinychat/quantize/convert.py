"""A float Hugging Face folder -> the same model in low-bit weights, one block at a time.

What is written is a standard checkpoint: AWQ "gemm" where that can hold it, else "gptq_v2". It
appears whole or not at all. In memory there are one block and the calibration text's hidden states;
finished blocks are on disk, so a run that was stopped goes on behind them and ends in the same
bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError

from tinychat.checkpoint import Checkpoint
from tinychat.config import ModelConfig, load_config
from tinychat.errors import ArgumentError, TinyChatError
from tinychat.hub import resolve_model
from tinychat.kernels.dispatch import check_device
from tinychat.memory import memory_errors
from tinychat.quantize.calibration import (
    LENGTH,
    TOKENS,
    Calibration,
    CalibrationSource,
    prepare,
)
from tinychat.quantize.gptq import Order
from tinychat.quantize.grid import Grid
from tinychat.quantize.layer import METHODS, GroupReport, Settings
from tinychat.quantize.run import REPORT, Progress, Run, Start
from tinychat.quantize.sampled import sample_text
from tinychat.quantize.workspace import Workspace
from tinychat.tokenizer import Tokenizer

# Where memory runs out half-way.
WAY_OUT = "fewer calibration tokens take less, and the same call goes on where this one was"


@dataclass(frozen=True)
class Result:
    """What was written.

    Attributes:
        out: the folder.
        format: "awq gemm" or "gptq gptq_v2".
        calibration: what the model was shown; None for method "rtn".
        layers: for each layer the reports of its inputs.
        kept_float: parts of the names of linears that do not fit the format.
        bytes_before, bytes_after: of the files that hold the weights.
        bits_per_weight: of the linears that were quantized, scales and zeros included.
    """

    out: Path
    format: str
    calibration: Calibration | None
    layers: list[list[GroupReport]]
    kept_float: list[str]
    bytes_before: int
    bytes_after: int
    bits_per_weight: float


def quantize(
    model: str | Path,
    out: str | Path,
    method: str = "awq",
    bits: int = 4,
    group_size: int = 128,
    calibration: CalibrationSource = None,
    *,
    symmetric: bool = False,
    clip: bool = True,
    act_order: bool = False,
    damping: float = 0.01,
    sequential: bool | None = None,
    tokens: int = TOKENS,
    seed: int = 0,
    device: str = "auto",
    offline: bool = False,
    on_sample: Callable[[int, int], None] | None = None,
    on_start: Callable[[Start], None] | None = None,
    on_step: Callable[[int, str], None] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Quantize the linears of every block and write a standard checkpoint.

    Args:
        model: a folder with float16, bfloat16 or float32 safetensors, or a Hugging Face id.
        out: the folder to make; it must not exist. A run that was stopped is continued by the same
            call.
        method: "awq", "gptq", "rtn" or "awq+gptq".
        bits: 2, 3, 4 or 8.
        group_size: 128, 64 or 32, a divisor of every K; -1 for one group a row.
        calibration: None for the text that ships with tinychat, a text file, texts, sequences of
            token ids, or "self" for text that the model itself makes up.
        symmetric: no zero points.
        clip: whether AWQ clips the ranges of groups.
        act_order: GPTQ groups the columns in the order in which it rounds them; needs the GPTQ
            format and a gather of the inputs at run time, for a slightly smaller error. Not where
            AWQ clips, since a clipped group is that of its place.
        damping: of GPTQ's Hessian, a share of its mean diagonal.
        sequential: calibrate each block on what the quantized ones before it give. None: as the
            papers have it, for "gptq" yes, else no.
        tokens: of calibration text.
        seed: chooses among more text than that.
        device: "auto" for a CUDA device if torch has one, "cpu", "cuda".
        offline: never touch the network.
        on_sample: called with (tokens so far, tokens wanted) while the model makes up its text.
        on_start: called once, when everything is checked and the text is ready.
        on_step: called with the number of a layer, from 1, and what is about to be done in it.
        progress: called after every layer.
    Raises:
        ArgumentError for settings that do not fit the model, an output that exists, a quantized
            source.
        CheckpointError naming the tensor that is missing, damaged or not finite.
        NotEnoughMemoryError with the memory needed.
    """
    if method not in METHODS:
        raise ArgumentError(f"method={method!r} is not one of {', '.join(METHODS)}")
    if not 0 < damping < 1:
        raise ArgumentError(f"damping={damping}: expected more than 0 and less than 1")
    if tokens < 1:
        raise ArgumentError(f"tokens={tokens}: expected at least 1")
    settings = Settings(
        method,
        Grid(bits, group_size, symmetric),
        clip,
        Order(damping=damping, static_groups=not act_order),
        sequential=method == "gptq" if sequential is None else sequential,
    )
    out = Path(out)
    if out.exists() or out.is_symlink():
        if (out / REPORT).is_file():  # whole, so that its layers are of no more use
            Workspace.discard(out)
        raise ArgumentError(f"{out} exists already; name a folder that does not")
    source = resolve_model(model, offline=offline)
    config = load_config(source)
    if config.quantization is not None:
        raise ArgumentError(f"{source} is quantized already; start from the float checkpoint")
    checkpoint = Checkpoint.open(source)
    label = None
    try:
        run = Run(source, checkpoint, config, settings, _device(device))
        with memory_errors("quantizing", WAY_OUT), Workspace(out) as workspace:
            text = None
            if settings.looks:
                if calibration == "self":  # takes long, so what can be refused is refused before
                    run.check_memory([LENGTH] * (tokens // LENGTH))
                    calibration = sample_text(source, config, tokens, seed, workspace, on_sample)
                    label = "self"
                text = _prepared(source, config, calibration, tokens, seed, label)
            run.check_memory([len(row) for row in text.sequences] if text else [])
            workspace.use_for(run.fingerprint(text, seed))
            layers = run.layers(workspace, text, on_start, on_step, progress)
            run.write(out, workspace, text, seed, layers)
            workspace.remove()
        with Checkpoint.open(out) as written:
            return Result(
                out,
                run.format,
                text,
                layers,
                run.left,
                checkpoint.nbytes,
                written.nbytes,
                run.bits_per_weight(written),
            )
    except (OSError, SafetensorError) as error:  # of writing; what cannot be read says so itself
        path = getattr(error, "filename", None) or out
        reason = getattr(error, "strerror", None) or error
        raise TinyChatError(f"cannot write {path}: {reason}") from None
    finally:
        checkpoint.close()


def _device(name: str) -> torch.device:
    check_device(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name != "cpu" and not torch.cuda.is_available():
        raise ArgumentError(f"device={name!r} is not here; use 'auto' or 'cpu'")
    return torch.device(name)


def _prepared(
    source: Path,
    config: ModelConfig,
    given: CalibrationSource,
    tokens: int,
    seed: int,
    label: str | None,
) -> Calibration:
    return prepare(
        given,
        Tokenizer.load(source, config.vocab_size),
        config.vocab_size,
        config.max_positions,
        tokens=tokens,
        seed=seed,
        label=label,
    )

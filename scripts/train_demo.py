"""Train the chat model that ships in `models/`, from scratch, on text that `demo_corpus` makes up.

    python scripts/train_demo.py --out models                 train, export, judge
    python scripts/train_demo.py --out models --resume        go on from the last checkpoint
    python scripts/train_demo.py --out /tmp/try --smoke       minutes, to see that everything works
    python scripts/train_demo.py --out models --transcripts   only judge the folders that lie in OUT
    python scripts/train_demo.py --out models --int4          only quantize OUT's FP16 folder

The budget is counted in steps, so a rerun sees the same data in the same order. A checkpoint is
written every 100 steps, so Ctrl-C costs little.
The learning rate warms up, stays, and falls to zero over the last part, in which the model trains
on its own 4-bit rounding so that the INT4 folder answers like the FP16 one.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from demo_data import Batch, batches, train_tokenizer
from demo_eval import held_out_perplexity, transcripts
from demo_export import export_fp16, export_int4, worst_difference
from demo_model import DemoConfig, DemoModel
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer

STEPS = 10000
SMOKE_STEPS = 150
WARMUP_STEPS = 100
DECAY_SHARE = 0.4
PEAK_LEARNING_RATE = 2e-3
TOKENS_PER_BATCH = 2048
SAVE_EVERY = 100
REPORT_EVERY = 20


def learning_rate(step: int, steps: int) -> float:
    """Return the rate of one step: warm-up, plateau, then a straight line to zero."""
    decay_steps = steps * DECAY_SHARE
    return PEAK_LEARNING_RATE * min((step + 1) / WARMUP_STEPS, 1.0, (steps - step) / decay_steps)


def make_optimizer(model: DemoModel) -> torch.optim.AdamW:
    """Return AdamW with weight decay on matrices only."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": 0.1},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=PEAK_LEARNING_RATE, betas=(0.9, 0.95), fused=True)


def save_checkpoint(path: Path, model: DemoModel, optimizer: torch.optim.AdamW, step: int) -> None:
    """Write model, moments and step to one safetensors file, whole or not at all."""
    tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    for name, parameter in model.named_parameters():
        state = optimizer.state[parameter]
        tensors[f"exp_avg.{name}"] = state["exp_avg"]
        tensors[f"exp_avg_sq.{name}"] = state["exp_avg_sq"]
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"step": str(step)})
    partial.replace(path)


def load_checkpoint(path: Path, model: DemoModel, optimizer: torch.optim.AdamW) -> int:
    """Restore what `save_checkpoint` wrote and return the step to go on with."""
    with safe_open(path, framework="pt") as file:
        step = int(file.metadata()["step"])
        for name, parameter in model.named_parameters():
            parameter.data.copy_(file.get_tensor(f"model.{name}"))
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step)),
                "exp_avg": file.get_tensor(f"exp_avg.{name}"),
                "exp_avg_sq": file.get_tensor(f"exp_avg_sq.{name}"),
            }
    return step


def train_step(model: DemoModel, optimizer: torch.optim.AdamW, batch: Batch) -> float:
    """Do one update and return the mean loss of its weighted tokens."""
    # bfloat16 products, float32 weights and sums: faster where the CPU has AVX512-BF16, and stable.
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(batch.inputs)
    losses = F.cross_entropy(
        logits.float().flatten(0, 1), batch.targets.flatten(), reduction="none"
    )
    loss = (losses * batch.weights.flatten()).sum() / batch.weights.sum()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def train(
    model: DemoModel,
    tokenizer: Tokenizer,
    checkpoint: Path,
    steps: int,
    seed: int,
    resume: bool,
) -> None:
    """Run the loop.

    Args:
        model: updated in place.
        tokenizer: see `demo_data.train_tokenizer`.
        checkpoint: file to save to and resume from.
        steps: budget; also fixes the learning rate's course.
        seed: data stream.
        resume: go on from the checkpoint if there is one.
    """
    optimizer = make_optimizer(model)
    first = load_checkpoint(checkpoint, model, optimizer) if resume and checkpoint.exists() else 0
    stream = batches(tokenizer, seed, TOKENS_PER_BATCH, model.config.max_position_embeddings)
    started, recent, seen, step = time.monotonic(), 0.0, 0, first
    try:
        for step, batch in enumerate(itertools.islice(stream, first, steps), start=first):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps)
            model.train_rounded(step >= steps * (1 - DECAY_SHARE))
            recent += train_step(model, optimizer, batch) / REPORT_EVERY
            seen += batch.inputs.numel()
            if (step + 1) % REPORT_EVERY == 0:
                elapsed = time.monotonic() - started
                left = elapsed / (step + 1 - first) * (steps - step - 1)
                print(
                    f"step {step + 1}/{steps}  loss {recent:.4f}  {seen / elapsed:.0f} tok/s  "
                    f"{elapsed / 60:.1f} min gone, {left / 60:.1f} min left",
                    flush=True,
                )
                recent = 0.0
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
                save_checkpoint(checkpoint, model, optimizer, step + 1)
    except KeyboardInterrupt:
        print(
            f"stopped in step {step}; --resume goes on from the last checkpoint",
            flush=True,
        )
        raise SystemExit(130) from None
    model.train_rounded(False)


def kept_tokenizer(path: Path, seed: int, config: DemoConfig, resume: bool) -> Tokenizer:
    """Return the tokenizer that the checkpoint was trained with, or train and keep a new one."""
    if resume and path.exists():
        return Tokenizer.from_file(str(path))
    tokenizer = train_tokenizer(seed, config.vocab_size)
    tokenizer.save(str(path))
    return tokenizer


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the two model folders")
    parser.add_argument("--work", type=Path, help="folder for the checkpoint (default: OUT)")
    parser.add_argument(
        "--steps", type=int, default=STEPS, help="training steps (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        help="start weights and data (default: %(default)s)",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--smoke", action="store_true", help=f"only {SMOKE_STEPS} steps")
    parser.add_argument(
        "--transcripts",
        action="store_true",
        help="judge the model in OUT, do not train",
    )
    parser.add_argument("--int4", action="store_true", help="write the INT4 folder only")
    args = parser.parse_args()
    fp16_dir, int4_dir = (
        args.out / "tinychat-demo-fp16",
        args.out / "tinychat-demo-int4",
    )
    if args.int4:
        export_int4(fp16_dir, int4_dir)
        return
    if not args.transcripts:
        torch.manual_seed(args.seed)
        steps = SMOKE_STEPS if args.smoke else args.steps
        work = args.work or args.out
        work.mkdir(parents=True, exist_ok=True)
        config = DemoConfig()
        tokenizer = kept_tokenizer(work / "tokenizer.json", args.seed, config, args.resume)
        model = DemoModel(config)
        count = sum(p.numel() for p in model.parameters())
        print(f"{count:,} parameters, vocabulary {tokenizer.get_vocab_size()}", flush=True)
        train(model, tokenizer, work / "train.safetensors", steps, args.seed, args.resume)
        export_fp16(model, tokenizer, fp16_dir)
        print(
            f"largest logit difference from transformers: {worst_difference(model, fp16_dir):.2e}"
        )
        export_int4(fp16_dir, int4_dir)
    exact = held_out_perplexity(fp16_dir, weights="fp32")
    print(f"held-out perplexity, FP16: {exact:.4f}", flush=True)
    print(f"held-out perplexity, INT4: {held_out_perplexity(int4_dir):.4f}", flush=True)
    print(transcripts(int4_dir), flush=True)


if __name__ == "__main__":
    main()

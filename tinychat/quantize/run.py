"""One quantization: its plan, the walk through the layers, and the folder that comes out of it."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import tinychat
from tinychat import limits
from tinychat.checkpoint import Checkpoint
from tinychat.config import ModelConfig, QuantizationConfig
from tinychat.errors import ArgumentError, CheckpointError, NotEnoughMemoryError
from tinychat.families import FAMILIES
from tinychat.files import to_disk
from tinychat.jsonfile import read_json
from tinychat.kernels.reference import ReferenceOps
from tinychat.loader import PACKED_PARTS, Loader
from tinychat.memory import available_bytes, memory_errors, peak_bytes
from tinychat.nn.attention import PositionTables
from tinychat.nn.rope import position_tables
from tinychat.quantize.awq_format import AWQ_BITS, awq_config, to_awq_gemm
from tinychat.quantize.block import BlockView, Matrix, in_file_order
from tinychat.quantize.calibration import Calibration
from tinychat.quantize.format import GROUP_SIZES, LowBitWeight
from tinychat.quantize.gptq_format import gptq_config, to_gptq
from tinychat.quantize.grid import WHOLE_ROW
from tinychat.quantize.layer import (
    GroupReport,
    Settings,
    kept_sequences,
    new_statistics,
    quantize_block,
    trial,
    working_bytes,
)
from tinychat.quantize.output import copy_files, natural_order, to_half, write_json, write_weights
from tinychat.quantize.workspace import Workspace

REPORT = "quantization.json"


@dataclass(frozen=True)
class Start:
    """What is about to be done.

    Attributes:
        settings: what was asked for.
        format: "awq gemm" or "gptq gptq_v2".
        calibration: what the model will be shown; None for method "rtn".
        kept_float: parts of the names of linears that do not fit the format.
        layers: of the model.
        done: how many of them an earlier run has finished.
        workspace: where finished layers are kept.
    """

    settings: Settings
    format: str
    calibration: Calibration | None
    kept_float: tuple[str, ...]
    layers: int
    done: int
    workspace: Path


@dataclass(frozen=True)
class Progress:
    """One finished layer.

    Attributes:
        layer: how many are done, of `layers`.
        loss_rtn, loss: mean over the layer's inputs, see `GroupReport`.
        seconds_left: estimate; None before there is one.
        peak_memory: bytes that the process has held at most.
        resumed: it was finished by an earlier run.
        notes: lines about groups that fell back to plain rounding.
    """

    layer: int
    layers: int
    loss_rtn: float
    loss: float
    seconds_left: float | None
    peak_memory: int
    resumed: bool
    notes: tuple[str, ...]


class Run:
    """One quantization: the source, what is asked for, and which matrices can have it."""

    def __init__(
        self,
        source: Path,
        checkpoint: Checkpoint,
        config: ModelConfig,
        settings: Settings,
        device: torch.device,
    ) -> None:
        self.source, self.checkpoint, self.config = source, checkpoint, config
        self.settings, self.device = settings, device
        # What `load` would refuse is refused now, not after hours.
        self._loader = Loader(checkpoint, config, ReferenceOps(), "fp32", "fp16")
        self._loader.check_names(strict=True)
        grid = settings.grid
        # Orders of columns have a place in the GPTQ layout only.
        self.awq = grid.bits == AWQ_BITS and not grid.symmetric and not settings.act_order
        self.format = "awq gemm" if self.awq else "gptq gptq_v2"
        self.kept_float = self._roles_that_do_not_fit()
        self.left = sorted({config.tensors[r].split("{i}.")[-1] for r in self.kept_float})

    def _roles_that_do_not_fit(self) -> list[str]:
        """Roles whose rows do not fill the words of the format; the group size must fit them all.

        Raises: ArgumentError if the group size does not divide a K, or nothing is left.
        """
        grid, matrices = self.settings.grid, self.config.block_matrices()
        unit = 8 if self.awq else 32 // math.gcd(grid.bits, 32)
        kept = [
            role for role, (n, k) in matrices.items() if n % unit or (k % unit and not self.awq)
        ]
        if len(kept) == len(matrices):
            raise ArgumentError(f"no linear of this model has rows in multiples of {unit}")
        widths = {k: role for role, (_, k) in matrices.items() if role not in kept}
        for k, role in widths.items():
            if grid.group_size != WHOLE_ROW and k % grid.group_size:
                fits = [str(g) for g in GROUP_SIZES if all(width % g == 0 for width in widths)]
                name = self.config.tensors[role].format(i=0)
                raise ArgumentError(
                    f"group_size={grid.group_size} of {name} does not divide K={k}; "
                    f"use {' or '.join([*fits, '-1 (whole rows)'])}"
                )
        if grid.group_size != WHOLE_ROW and grid.group_size not in GROUP_SIZES:
            raise ArgumentError(
                f"group_size={grid.group_size}: expected 128, 64, 32, or -1 for whole rows"
            )
        return kept

    # --- before the first layer

    def check_memory(self, lengths: Sequence[int]) -> None:
        """Refuse what will not fit, and try the largest step for real.

        Args:
            lengths: of the calibration sequences, in tokens.
        Raises: NotEnoughMemoryError with the number needed.
        """
        need = working_bytes(self.config, self.settings, lengths)
        available = available_bytes() if self.device.type == "cpu" else None
        message = f"quantizing this model needs {need >> 20} MB"
        if available is not None and need > available:
            raise NotEnoughMemoryError(f"{message} and {available >> 20} MB are free")
        with memory_errors("trying its largest matrix", message):
            trial(self.config, self.settings, self.device)

    def fingerprint(self, text: Calibration | None, seed: int) -> dict[str, Any]:
        """All that the result depends on."""
        try:
            kinds = (".safetensors", ".json")
            paths = sorted(path for path in self.source.iterdir() if path.suffix in kinds)
            stats = {path.name: path.stat() for path in paths}
        except OSError as error:
            raise CheckpointError(f"{error.filename} cannot be read: {error.strerror}") from None
        return {
            "version": tinychat.__version__,
            "torch": torch.__version__,
            "device": self.device.type,
            "model": {name: [s.st_size, s.st_mtime_ns] for name, s in stats.items()},
            "settings": self.settings.as_dict(),
            "calibration": _text_record(text),
            "seed": seed,
        }

    # --- layers

    def layers(
        self,
        workspace: Workspace,
        text: Calibration | None,
        on_start: Callable[[Start], None] | None,
        on_step: Callable[[int, str], None] | None,
        progress: Callable[[Progress], None] | None,
    ) -> list[list[GroupReport]]:
        """Quantize every layer that is not done yet.

        Returns: the reports of all.
        """
        done: list[list[GroupReport]] = []
        count = self.config.num_layers
        finished = [workspace.finished(layer) for layer in range(count)]
        open_layers = [layer for layer in range(count) if finished[layer] is None]
        if on_start is not None:
            on_start(
                Start(
                    self.settings,
                    self.format,
                    text,
                    tuple(self.left),
                    count,
                    count - len(open_layers),
                    workspace.path,
                )
            )
        hidden = self._embedded(text)
        longest = max((len(h) for h in hidden), default=1)
        positions = self._positions(longest)
        # Behind the last layer to do, nobody needs hidden states.
        last = open_layers[-1] if open_layers else -1
        started, worked = time.monotonic(), 0
        for layer, reports in enumerate(finished):
            step = partial(on_step or _silent, layer + 1)
            resumed = reports is not None
            if reports is None:
                tensors, found = self._layer(layer, hidden, positions, step)
                reports = [asdict(report) for report in found]
                workspace.save(layer, tensors, reports)
                worked += 1
            elif layer < last and hidden and not self.settings.sequential:
                step("passing through")
                view = BlockView(self.checkpoint, self.config, layer, positions, self.device)
                view.observe(hidden, set(), {})
            if layer < last and hidden and self.settings.sequential:
                step("passing through")
                self._through_quantized(workspace.load(layer), layer, hidden, positions)
            self.checkpoint.forget_pages()
            done.append([GroupReport(**report) for report in reports])
            if progress is not None:
                elapsed = time.monotonic() - started
                left = [i for i in open_layers if i > layer]
                seconds = elapsed / worked * len(left) if worked else None
                progress(_progress(done[-1], layer + 1, count, seconds, resumed))
        return done

    def _layer(
        self,
        layer: int,
        hidden: list[Tensor],
        positions: PositionTables,
        step: Callable[[str], None],
    ) -> tuple[dict[str, Tensor], list[GroupReport]]:
        """Quantize one block.

        Args:
            hidden: becomes what comes behind the float block, unless the quantized one is to make
                that.
        Returns: the block's tensors as the format has them; reports.
        """
        # Only readers of AWQ files divide activations; those of GPTQ files would ignore it.
        view = BlockView(
            self.checkpoint, self.config, layer, positions, self.device, activation_scales=self.awq
        )
        seen = {}
        if self.settings.looks:
            step("observing")
            seen = new_statistics(view, self.settings, self.kept_float)
            kept = kept_sequences([len(h) for h in hidden], self.config.hidden_size)
            view.observe(hidden, kept, seen, advance=not self.settings.sequential)
        weights, reports = quantize_block(view, seen, self.settings, self.kept_float, step)
        return self._tensors_of(view, weights), reports

    def _tensors_of(
        self, view: BlockView, weights: Mapping[str, LowBitWeight]
    ) -> dict[str, Tensor]:
        tensors = {}
        for matrix in view.matrices.values():
            if matrix.name not in weights:
                kept = in_file_order(matrix, matrix.weight)
                tensors[f"{matrix.name}.weight"] = to_half(kept).cpu()
                continue
            weight = _rows_in_file_order(matrix, weights[matrix.name])
            parts = to_awq_gemm(weight) if self.awq else to_gptq(weight)
            tensors |= {f"{matrix.name}.{part}": tensor for part, tensor in parts.items()}
        tensors |= {name: to_half(tensor) for name, tensor in view.floats().items()}
        return tensors

    def _embedded(self, text: Calibration | None) -> list[Tensor]:
        """[T, C] float32 for every sequence."""
        if text is None:
            return []
        table = self._loader.embedding()
        rows = (torch.tensor(sequence) for sequence in text.sequences)
        return [table[ids].to(self.device, torch.float32) for ids in rows]

    def _positions(self, length: int) -> PositionTables:
        tables = position_tables(self.config, length)
        rope = None
        if tables.rope is not None:
            cos, sin = tables.rope
            rope = cos.to(self.device), sin.to(self.device)
        alibi = None if tables.alibi is None else tables.alibi.to(self.device)
        return PositionTables(rope, alibi)

    def _through_quantized(
        self,
        tensors: dict[str, Tensor],
        layer: int,
        hidden: list[Tensor],
        positions: PositionTables,
    ) -> None:
        """Bring hidden states behind a finished block, as read back from what is written."""
        config = replace(self.config, quantization=self._stored())
        view = BlockView(_Tensors(tensors), config, layer, positions, self.device)
        view.observe(hidden, set(), {})

    def _stored(self) -> QuantizationConfig:
        grid = self.settings.grid
        method, _, form = self.format.partition(" ")
        return QuantizationConfig(
            method=method,
            format=form,
            bits=grid.bits,
            group_size=grid.group_size,
            desc_act=self.settings.act_order,
        )

    # --- the output

    def write(
        self,
        out: Path,
        workspace: Workspace,
        text: Calibration | None,
        seed: int,
        layers: Sequence[Sequence[GroupReport]],
    ) -> None:
        """Make the folder from the finished layers and the rest of the source."""
        # Inside the workspace, so that the next run removes what a killed one left.
        partial = workspace.path / "output"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir()
            write_weights(partial, self._all_tensors(workspace))
            self._write_config(partial)
            record = {
                "tinychat": tinychat.__version__,
                **self.settings.as_dict(),
                "calibration": _text_record(text),
                "seed": seed,
                "layers": [[asdict(report) for report in reports] for reports in layers],
            }
            write_json(partial / REPORT, record)
            copy_files(self.source, partial)
            partial.rename(out)
            # Before the layers are deleted, as far as the system has that for folders.
            with contextlib.suppress(OSError):
                to_disk(out.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def bits_per_weight(self, written: Checkpoint) -> float:
        """What a weight takes in the linears of what was written; every block has the same."""
        names = written.names()
        size = weights = 0
        for role, (n, k) in self.config.block_matrices().items():
            if role not in self.kept_float:
                linear = self.config.tensors[role].format(i=0)
                parts = [f"{linear}.{part}" for part in PACKED_PARTS["gptq"]]
                size += sum(written.tensor(name).nbytes for name in parts if name in names)
                weights += n * k
        return 8 * size / weights

    def _all_tensors(self, workspace: Workspace) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of the output, in the order of the layers."""
        config = self.config
        made = {name for role, name in self._loader.modules() if "{i}" in config.tensors[role]}
        ignored = FAMILIES[config.family].ignored_suffixes
        for name in sorted(self.checkpoint.names(), key=natural_order):
            if name.rpartition(".")[0] not in made and not name.endswith(ignored):
                yield name, to_half(self.checkpoint.tensor(name))
        for layer in range(config.num_layers):
            yield from sorted(workspace.load(layer).items())

    def _write_config(self, folder: Path) -> None:
        values = read_json(self.source / "config.json", limits.CONFIG_BYTES)
        grid = self.settings.grid
        if self.awq:
            values["quantization_config"] = awq_config(grid.group_size, self.left)
        else:
            values["quantization_config"] = gptq_config(
                grid.bits,
                grid.group_size,
                sym=grid.symmetric,
                desc_act=self.settings.act_order,
                left=self.left,
            )
        # What the kernels of other engines for these formats compute in.
        values.pop("dtype", None)
        values["torch_dtype"] = "float16"
        values.pop("auto_map", None)  # names files with code, which are not copied
        write_json(folder / "config.json", values)


def _silent(layer: int, what: str) -> None:
    """For who does not ask about steps."""


class _Tensors:
    """A source over tensors in memory."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def names(self) -> set[str]:
        return set(self._tensors)

    def tensor(self, name: str) -> Tensor:
        return self._tensors[name]

    def unused(self) -> set[str]:
        return set()


def _rows_in_file_order(matrix: Matrix, weight: LowBitWeight) -> LowBitWeight:
    return replace(
        weight,
        codes=in_file_order(matrix, weight.codes),
        scales=in_file_order(matrix, weight.scales),
        zeros=in_file_order(matrix, weight.zeros),
    )


def _text_record(text: Calibration | None) -> dict[str, Any] | None:
    if text is None:
        return None
    return {
        "source": text.source,
        "sha256": text.sha256,
        "sequences": len(text.sequences),
        "tokens": text.tokens,
    }


def _progress(
    reports: Sequence[GroupReport], layer: int, layers: int, seconds: float | None, resumed: bool
) -> Progress:
    notes = [
        f"layer {layer}/{layers}, {report.input}: rounded to nearest, because {report.fallback}"
        for report in reports
        if report.fallback
    ]
    return Progress(
        layer,
        layers,
        sum(report.loss_rtn for report in reports) / len(reports),
        sum(report.loss for report in reports) / len(reports),
        seconds,
        peak_bytes(),
        resumed,
        tuple(notes),
    )

"""Writing the demo model as Hugging Face folders: FP16, and INT4 in AWQ's layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from demo_data import BOS, CHAT_TEMPLATE, END, PAD, dialogue, encode_all, id_of
from demo_model import DemoModel
from safetensors.torch import save_file
from tokenizers import Tokenizer

# Dialogues like those of training, of a seed that neither training nor judging uses.
CALIBRATION_SEED = 1_000
CALIBRATION_DIALOGUES = 160


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def export_fp16(model: DemoModel, tokenizer: Tokenizer, out_dir: Path) -> None:
    """Write config, weights in float16, tokenizer, chat template and generation settings.

    Args:
        model: the trained model.
        tokenizer: its tokenizer.
        out_dir: folder to fill; made if missing.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    bos, end, pad = (id_of(tokenizer, token) for token in (BOS, END, PAD))
    _write_json(out_dir / "config.json", model.config.to_hugging_face(bos, end, pad))
    _write_json(
        out_dir / "generation_config.json",
        {
            "bos_token_id": bos,
            "eos_token_id": end,
            "pad_token_id": pad,
            "do_sample": True,
            "temperature": 0.3,
            "top_k": 20,
            "top_p": 0.9,
        },
    )
    _write_json(
        out_dir / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": BOS,
            "eos_token": END,
            "pad_token": PAD,
            "add_bos_token": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": model.config.max_position_embeddings,
        },
    )
    (out_dir / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    tokenizer.save(str(out_dir / "tokenizer.json"))
    weights = {name: p.detach().to(torch.float16) for name, p in model.named_parameters()}
    save_file(weights, out_dir / "model.safetensors", metadata={"format": "pt"})


def export_int4(fp16_dir: Path, out_dir: Path) -> None:
    """Quantize the FP16 folder by AWQ to 4 bits in groups of 128, calibrated on training dialogues.

    Args:
        fp16_dir: what `export_fp16` wrote.
        out_dir: folder to write; an older one is replaced.
    """
    from tinychat.quantize import quantize

    if out_dir.exists():
        shutil.rmtree(out_dir)
    tokenizer = Tokenizer.from_file(str(fp16_dir / "tokenizer.json"))
    dialogues = [dialogue(CALIBRATION_SEED, n) for n in range(CALIBRATION_DIALOGUES)]
    encoded = encode_all(tokenizer, dialogues, max_length=512)
    quantize(fp16_dir, out_dir, calibration=[ids for ids, _ in encoded])


def worst_difference(model: DemoModel, fp16_dir: Path) -> float:
    """Return the largest logit difference from transformers' reading of the folder.

    Both use the same float16-rounded weights in float32 arithmetic, and the prompt goes through the
    folder's own tokenizer and chat template.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(fp16_dir)
    messages = [{"role": "user", "content": "What is 7 plus 5?"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    tokens = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
    reference = AutoModelForCausalLM.from_pretrained(fp16_dir, dtype=torch.float32)
    rounded = DemoModel(model.config)
    rounded.load_state_dict({k: v.half().float() for k, v in model.state_dict().items()})
    with torch.no_grad():
        return float((reference(tokens).logits - rounded(tokens)).abs().max())

"""Write dialogues of the demo model's world as token ids, for `reproduce_awq.py`.

Usage: python scripts/demo_tokens.py MODEL OUT.json [--seed 7] [--count 200] [--held-out]
    --held-out   every user turn comes from a template that training never saw

What counts in a score are the tokens of the answers with their <|end|>, as in `demo_eval.py`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from demo_data import dialogue, encode_all
from demo_eval import HELD_OUT_SEED
from tokenizers import Tokenizer

from tinychat.config import load_config


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--held-out", action="store_true")
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    dialogues = [dialogue(args.seed, n, args.held_out) for n in range(args.count)]
    encoded = encode_all(tokenizer, dialogues, load_config(args.model).max_positions)
    values = {"ids": [ids for ids, _ in encoded], "counted": [mask for _, mask in encoded]}
    args.out.write_text(json.dumps(values) + "\n", encoding="utf-8")
    print(f"{args.count} dialogues, {sum(len(ids) for ids, _ in encoded)} tokens")


if __name__ == "__main__":
    main()

"""A Llama of random weights in OpenVINO's format, its matrices in int4 as optimum-intel makes them.

Usage: python openvino_export.py FOLDER    (config.json on stdin)

Run, never imported: optimum-intel wants an older transformers and huggingface_hub than tinychat, so
this may be the Python of another environment, and nothing of ours is needed here.
"""

from __future__ import annotations

import json
import sys
import tempfile

try:
    import torch
    import transformers
    from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig
except Exception as error:  # transformers raises errors of its own for versions that do not fit
    sys.exit(
        f"exporting to OpenVINO needs optimum-intel in an environment of its own ({error!s:.80}): "
        "python -m venv ENV && ENV/bin/pip install optimum-intel, then --exporter ENV/bin/python"
    )

# What `optimum-cli export openvino --weight-format int4` does with a model that it has no entry
# for, and a smaller group where 128 does not divide the rows, which its entries ask for as well.
INT4 = OVWeightQuantizationConfig(
    bits=4, sym=False, group_size=128, ratio=1.0, group_size_fallback="adjust"
)


def main() -> None:
    folder, shape = sys.argv[1], json.load(sys.stdin)
    config = transformers.AutoConfig.for_model(shape.pop("model_type"), **shape)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as checkpoint:
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        model.save_pretrained(checkpoint)
        del model
        exported = OVModelForCausalLM.from_pretrained(
            checkpoint, export=True, compile=False, quantization_config=INT4
        )
        exported.save_pretrained(folder)


if __name__ == "__main__":
    main()

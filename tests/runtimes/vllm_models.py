"""Small real models for vLLM, made by the transformers of its own interpreter: `python vllm_models.py KIND TARGET`.

`tiny`: a random Llama with a chat template. `lora`: an adapter for it. `smollm2 SOURCE`: a GGUF turned to safetensors.
"""

import json
import sys
from pathlib import Path
from typing import Any

TEMPLATE = "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }}\n{% endfor %}<assistant>"
WORDS = 512


def tiny(target: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"w{index}": index for index in range(3, WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", chat_template=TEMPLATE
    )
    config = LlamaConfig(
        vocab_size=WORDS, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=2048, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(target)
    fast.save_pretrained(target)


def lora(target: Path) -> None:
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(1)
    weights: dict[str, Any] = {}
    for layer in range(2):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        weights[f"{name}.lora_A.weight"] = torch.randn(8, 128, dtype=torch.bfloat16)
        weights[f"{name}.lora_B.weight"] = torch.randn(128, 8, dtype=torch.bfloat16)
    target.mkdir(parents=True, exist_ok=True)
    save_file(weights, target / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 64, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM",
              "base_model_name_or_path": "tiny", "bias": "none"}  # fmt: skip
    (target / "adapter_config.json").write_text(json.dumps(config))


def smollm2(target: Path, source: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    name = next(source.glob("*.gguf")).name
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source, gguf_file=name).save_pretrained(target)


if __name__ == "__main__":
    kind, wanted, *more = sys.argv[1:]
    {"tiny": tiny, "lora": lora, "smollm2": smollm2}[kind](Path(wanted), *map(Path, more))

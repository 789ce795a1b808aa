"""Trains tokenizer.json, the small byte-level vocabulary that the tests of tasks count lengths with, on a
text file given as the argument (the Jargon File). Needs the PyPI package tokenizers."""
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
)
tokenizer.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(
    vocab_size=800,
    special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    show_progress=False,
)
tokenizer.train([sys.argv[1]], trainer)
tokenizer.save(str(Path(__file__).parent / "tokenizer.json"), pretty=False)

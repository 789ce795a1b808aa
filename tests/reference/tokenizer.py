"""What the tokenizer is held against: Hugging Face's `tokenizers`, in an environment of its own.

    tokenizer.py references          the committed ids anew (tests/data/tokenizer/*.reference.json)
    tokenizer.py train               the small tokenizers too (their training text is this repository)
    tokenizer.py convert PATH DIR    a published vocabulary (Llama 3's tokenizer.model, Qwen's
                                     qwen.tiktoken) as DIR/tokenizer.json
    tokenizer.py compare DIR...      random comparison of whole vocabularies on this machine's texts
                                     [--megabytes N] [--seed N]
    tokenizer.py speed DIR...        both on the same text, one thread [--megabytes N]
    tokenizer.py characters          the classes in which Hugging Face and the C tables differ

Not part of `make test`: what it makes is committed.
"""

import argparse
import ctypes
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data/tokenizer"
PACKAGES = "tokenizers==0.23.3 transformers==5.23.0 tiktoken"


def enter_environment():
    """Starts this script again in the environment that has PACKAGES."""
    find = f'. "{ROOT}/harness/setup/environment.sh"; python_environment tokenizer {PACKAGES}; echo "$python"'
    python = subprocess.run(["sh", "-c", find], check=True, stdout=subprocess.PIPE, text=True)
    os.environ["APBENCH_REFERENCE"] = "1"
    interpreter = python.stdout.strip()
    os.execv(interpreter, [interpreter, *sys.argv])


if "APBENCH_REFERENCE" not in os.environ:
    enter_environment()

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizers  # noqa: E402
from tokenizers import (  # noqa: E402
    AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers)

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"\p{N}{1,3}" + REST
QWEN2 = CONTRACTIONS + r"\p{N}" + REST

SMOLLM2_SPECIAL = """<|endoftext|> <|im_start|> <|im_end|> <repo_name> <reponame> <file_sep> <filename>
<gh_stars> <issue_start> <issue_comment> <issue_closed> <jupyter_start> <jupyter_text> <jupyter_code>
<jupyter_output> <jupyter_script> <empty_output>""".split()
LLAMA3_SPECIAL = (
    """<|begin_of_text|> <|end_of_text|> <|reserved_special_token_0|> <|reserved_special_token_1|>
    <|finetune_right_pad_id|> <|step_id|> <|start_header_id|> <|end_header_id|> <|eom_id|> <|eot_id|>
    <|python_tag|>""".split() + [f"<|reserved_special_token_{i}|>" for i in range(2, 247)])
QWEN_SPECIAL = """<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|>
<|box_start|> <|box_end|> <|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|>
<|image_pad|> <|video_pad|>""".split()
QWEN_ADDED = """<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|>
<|repo_name|> <|file_sep|>""".split()

SENTENCES = """The harbour was quiet, and nobody's boat had come back before 17:45 on the 3rd of May 1998.
We've measured it twice: 12.5 % of 4096 tokens are 512 tokens, aren't they? They'll say it's fine, I'd guess.
Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich; das kostet 1.250,50 €.
L'été dernier, j'ai mangé des crêpes à la crème près de Besançon; où es-tu allé, toi?
El niño pequeño soñó con pingüinos en la montaña. ¿Verdad? ¡Claro que sí!
今日は天気がいいので、公園まで歩いて行きました。東京タワーも見えました。
我们昨天在图书馆看书,今天去公园散步。北京的秋天很漂亮。
오늘은 날씨가 좋아서 공원에 갔습니다. 내일은 비가 온다고 합니다.
Сегодня мы идём в библиотеку, а завтра поедем к морю. Это было давно.
Η θάλασσα ήταν ήρεμη και ο ουρανός γαλάζιος.
ذهبنا إلى السوق واشترينا الخبز والتمر. रात को बहुत बारिश हुई थी। שלום עולם
😀😁🚀🔥👍🏽👩‍👩‍👧‍👦🏳️‍🌈 café naïve e\u0301a\u0308 ½ ² Ⅷ ٣ → ≤ ∑ ∞ — “quoted” ‘s
""".splitlines()


def training_text():
    for path in sorted([*ROOT.glob("harness/**/*.[ch]"), *ROOT.glob("kernels/**/*.[ch]"), *ROOT.glob("*.md")]):
        yield path.read_text()
    for sentence in SENTENCES:
        yield (sentence + "\n") * 6


def byte_level(vocab, special, split, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(training_text(), trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def split_then_bytes(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def begin_with(token, tokenizer):
    return processors.TemplateProcessing(single=f"{token} $A", pair=f"{token} $A {token}:1 $B:1",
                                         special_tokens=[(token, tokenizer.token_to_id(token))])


def sentence_piece(vocab, special, byte_fallback, **model):
    """A vocabulary with U+2581 for spaces, learnt word by word; the caller sets the rest."""
    bytes_of = [f"<0x{byte:02X}>" for byte in range(256)] if byte_fallback else []
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=byte_fallback, **model))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.train_from_iterator(training_text(), trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=special + bytes_of, show_progress=False, limit_alphabet=220))
    text = json.loads(tokenizer.to_str())
    text["added_tokens"] = [token for token in text["added_tokens"] if token["content"] in special]
    text["pre_tokenizer"] = None
    return Tokenizer.from_str(json.dumps(text))


def train():
    made = {}

    made["smollm2"] = byte_level(600, SMOLLM2_SPECIAL, pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]))

    llama = byte_level(700, [], split_then_bytes(LLAMA3), ignore_merges=True)
    llama.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in LLAMA3_SPECIAL[:11]])
    llama.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False),
                                                begin_with("<|begin_of_text|>", llama)])
    made["llama-3"] = llama

    qwen = byte_level(700, [], split_then_bytes(QWEN2))
    qwen.normalizer = normalizers.NFC()
    qwen.post_processor = processors.ByteLevel(trim_offsets=False)
    qwen.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in QWEN_SPECIAL])
    qwen.add_tokens([AddedToken(text, normalized=False) for text in QWEN_ADDED])
    made["qwen2.5"] = qwen

    yi = sentence_piece(900, ["<unk>", "<|startoftext|>", "<|endoftext|>"], True)
    yi.normalizer = normalizers.Sequence([normalizers.Replace(" ", "▁")])
    yi.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made["yi"] = yi

    llama2 = sentence_piece(800, ["<unk>", "<s>", "</s>"], True)
    llama2.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    llama2.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                        decoders.Strip(" ", 1, 0)])
    llama2.post_processor = begin_with("<s>", llama2)
    llama2.add_tokens([AddedToken("<tidy>", lstrip=True, rstrip=True, normalized=False),
                       AddedToken("seventeen", single_word=True, normalized=False),
                       AddedToken("<norm>", normalized=True), AddedToken("a b", normalized=True, special=False)])
    made["llama-2"] = llama2

    meta = sentence_piece(700, ["<unk>", "<s>"], False)
    meta.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    meta.decoder = decoders.Metaspace(prepend_scheme="first")
    meta.add_tokens([AddedToken("<tidy>", lstrip=True, normalized=True), AddedToken("boat", single_word=True)])
    made["metaspace"] = meta

    odd = byte_level(500, ["<pad>"], pre_tokenizers.ByteLevel(add_prefix_space=True))
    odd.normalizer = normalizers.Sequence([normalizers.Replace(Regex(r"\t+"), " "), normalizers.Replace("xx", "y")])
    odd.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(" ", "merged_with_previous"), pre_tokenizers.Split(Regex(r"[A-Z]"), "contiguous"),
        pre_tokenizers.Split(Regex(r"[^~]+"), "removed", invert=True), pre_tokenizers.Split("_", "merged_with_next"),
        pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Split(Regex(r"(?=[aeiou])"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)])
    odd.decoder = None
    odd.post_processor = processors.TemplateProcessing(single="$A <pad>", special_tokens=[("<pad>", 0)])
    made["odd"] = odd

    for name, tokenizer in made.items():
        text = json.loads(tokenizer.to_str())
        if name in ("llama-3", "llama-2"):  # the older form of merges
            text["model"]["merges"] = [" ".join(pair) for pair in text["model"]["merges"]]
        if name == "llama-3":  # a word that merges alone do not reach: the point of ignore_merges
            vocab = text["model"]["vocab"]
            del text["model"]["merges"][300:303]
            assert sorted(vocab.values()) == list(range(len(vocab)))
        (DATA / f"{name}.json").write_text(json.dumps(text, ensure_ascii=False, indent=0) + "\n")
        print(name, tokenizer.get_vocab_size())


FIXED_CASES = SENTENCES + [
    "", " ", "  ", "a", " a", "a ", "  a  ", "\n", "\r\n", "\n\n\n", " \n \n  x", "x\n\n  y", "\t\t\tif x:\n\t\treturn",
    "x" + " " * 40 + "y", " " * 70, "\n" * 33 + "z", "\u3000\u3000全角", "\u00a0nbsp\u00a0 x", "a\u2028b\u2029c\u0085d\u200be",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "=" * 100, "1" * 50,
    "1234567890 12 1,234.50 0x7f 3e-5 v1.2.3", "I'm you're he's we've they'll I'd don't DON'T I'M 'S'T 'ſ 'K'", "''s '' 'x's '",
    "int main(void)\n{\n    for (int i = 0; i < 10; i++)\n        printf(\"%d\\n\", i);\n}\n",
    "def f(x):\n    return {'a': [x ** 2 for x in range(10)]}  # squares\n", "SELECT * FROM t WHERE a_b != 'c';",
    "http://example.org/path?q=1&r=%20#top user@example.org C:\\dir\\file", "snake_case camelCase HTTPServer x_1 __init__",
    "e\u0301 \u1100\u1161\u11a8 \ufb01 \u212b a\u0328\u0301 a\u0301\u0328 q\u0323\u0307 \u0344 \u0958 \u1e9b\u0323",
    "a\u07fd\u0327 \U000119e0\u0327 \U00011935\U00011930", "\u0301start", "한글 각 갂", "ﷺ ㍿ ①②③ Ⅷ ½ ²", "٣٤٥ ४५६ 𝟘𝟙 ៣",
    "👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 ☺️ 1️⃣", "𠮷野家 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𓀀 🜁", "\x00\x01\x1b[0m\x7f\x80\x9f\ufeff\ufffd\uffff\U0010ffff",
    "\u1c8a \ua7dc \U00010d4a \U00010d40 \U00011de0 \U00031350", "▁ ▁▁ ▁a a▁b", "<0x41><0xFF> <0x", "bytes £ → ☃ 𐍈",
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n",
    "<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n", "<|im_start|><|im_start|>x<|im_end|", "<|endoftext|> <|endoftext|>",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>", "<s>[INST] x [/INST]</s><unk>",
    "a  <tidy>  b<tidy> <tidy>c", "\n<tidy>\n", "seventeen seventeenth unseventeen, seventeen. (seventeen)éseventeen", "my boat, boats; boat",
    "x<norm>y <norm> <norm>", "a b a b", "xxxx\t\t\txx x x", "A~B~~CDEfGH~", "_a__b_ c_", "<tool_call>{\"a\": 1}</tool_call>",
    "<repo_name>x<file_sep>y<gh_stars>0", "don\u2019t \u2018s", "\ud7ff\ue000", "ΑΒΓ ΣΑΣ ÿ ſt İi", "กขค ไทย ภาษา", "שָׁלוֹם", "नमस्ते क्षि",
]
FIXED_BYTES = [b"\xff", b"abc\xc3", b"\xc3(", b"\xe2\x82", b"\xe2\x82x", b"\xf0\x9f\x98", b"\xf0\x9f\x98\xf0\x9f\x98\x80", b"\xc0\xaf\xe0\x80\x80",
               b"\xed\xa0\x80\xed\xbf\xbf", b"\xf4\x90\x80\x80\xf8\x88\x80\x80\x80", b"\x80\x80 \xbf", b"a\xffb\xfe c\xe9t\xe9", b"\xf1\x80\x80A\xe1\x80B"]

POOLS = ["abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", " \t\n\r\v\f\u00a0\u3000\u2028\u0085\u200b",
         "'!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~", "éüñßſİıÅåµ", "中文字漢日本語かなカナ한국어", "🙂🚀👨‍👩‍👧‍👦🏳️‍🌈",
         "\u0300\u0301\u0327\u0338\u0308\u05b0\u0651", "".join(map(chr, range(32))) + "\x7f\x80\x9f", "١٢٣४५६½²Ⅷ①𝟘", "ابجدأהוז", "กขคงจ"]
WORDS = ["the", " hello", "World", "def ", "return ", "int main()", "  for i in range(10):\n", "e\u0301", "1234567890", "3.14159", "'s", "'S",
         "'ſ", "'re", "'LL", "'ve", "'D", "don't", "’s", "\r\n", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|begin_of_text|>", "<|eot_id|>",
         "<tool_call>", "<s>", "</s>", "<unk>", "<0x41>", "<|", "|>", "<tidy>", "<norm>", "seventeen", "▁", "boat"]


def random_text(rng, parts):
    text = ""
    for _ in range(rng.randint(1, parts)):
        kind = rng.random()
        if kind < 0.5:
            pool = rng.choice(POOLS)
            text += "".join(rng.choice(pool) for _ in range(rng.choice([1, 1, 2, 3, 5, 12])))
        elif kind < 0.8:
            text += rng.choice(WORDS)
        elif kind < 0.9:
            text += rng.choice(" \n\t\r") * rng.choice([1, 2, 3, 8, 40])
        else:
            text += "".join(chr(c) for c in (rng.randrange(0x110000) for _ in range(3)) if not 0xD800 <= c < 0xE000)
    data = bytearray(text.encode())
    if data and rng.random() < 0.25:
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def cases():
    rng = random.Random(20)
    texts = [text.encode() for text in FIXED_CASES] + FIXED_BYTES
    return texts + [random_text(rng, 12) for _ in range(60)]


def read(data):
    """What Python's decoder, too, makes of ill-formed UTF-8: U+FFFD by maximal subparts."""
    return data.decode("utf-8", "replace")


def references():
    """One file of inputs, and for each tokenizer one of ids and of texts decoded from ids."""
    texts = cases()
    rows = [{"text": t.decode()} if t == read(t).encode() else {"hex": t.hex()} for t in texts]
    (DATA / "cases.json").write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    sources = {path.name.removesuffix(".json"): path for path in sorted(DATA.glob("*.json"))
               if path.name != "cases.json" and not path.name.endswith(".reference.json")}
    real = pathlib.Path(os.environ.get("APBENCH_CACHE", pathlib.Path.home() / ".cache/apbench")) / "models/smollm2/tokenizer.json"
    if real.exists():
        sources["smollm2-135m"] = real
    for name, path in sources.items():
        tokenizer = Tokenizer.from_file(str(path))
        rng = random.Random(name)
        encoded = [tokenizer.encode(read(text), add_special_tokens=False).ids for text in texts]
        with_special = tokenizer.encode("x").ids
        x = tokenizer.encode("x", add_special_tokens=False).ids
        at = next(i for i in range(len(with_special)) if with_special[i:i + len(x)] == x)
        listed = encoded + [[rng.randrange(tokenizer.get_vocab_size()) for _ in range(rng.randint(1, 12))] for _ in range(40)]
        decoded = [[ids, tokenizer.decode(ids, skip_special_tokens=False), tokenizer.decode(ids)] for ids in listed]
        lines = ",\n".join(json.dumps(row) for row in decoded)
        (DATA / f"{name}.reference.json").write_text(
            f'{{"made_with": "tokenizers {tokenizers.__version__}", "begin": {with_special[:at]}, "end": {with_special[at + len(x):]},\n'
            f'"encoded": {len(encoded)}, "rows": [\n{lines}\n]}}\n')
        print(name, len(encoded), "encoded", len(listed), "decoded")


# ---- Whole vocabularies, on demand ----


def convert(path, directory):
    from transformers.convert_slow_tokenizer import TikTokenConverter
    vocab, merges = TikTokenConverter(vocab_file=path).extract_vocab_merges_from_model(path)
    llama = "qwen" not in pathlib.Path(path).name
    tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=llama))
    tokenizer.pre_tokenizer = split_then_bytes(LLAMA3 if llama else QWEN2)
    tokenizer.decoder = decoders.ByteLevel()
    special = LLAMA3_SPECIAL if llama else QWEN_SPECIAL
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in special])
    if llama:
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False),
                                                        begin_with("<|begin_of_text|>", tokenizer)])
    else:
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
        tokenizer.add_tokens([AddedToken(text, normalized=False) for text in QWEN_ADDED])
    pathlib.Path(directory).mkdir(parents=True, exist_ok=True)
    tokenizer.save(f"{directory}/tokenizer.json")
    print(directory, tokenizer.get_vocab_size())


class TokenList(ctypes.Structure):
    _fields_ = [("ids", ctypes.POINTER(ctypes.c_int32)), ("count", ctypes.c_size_t), ("capacity", ctypes.c_size_t)]


class Ours:
    """The C tokenizer, built as a shared library."""

    def __init__(self, folder):
        library = f"{folder}/tokenizer.so"
        sources = [*map(str, ROOT.glob("datasets/tokenizer/*.c")), f"{ROOT}/datasets/unicode.c", f"{ROOT}/harness/error.c"]
        subprocess.run(["cc", "-std=gnu11", "-O3", "-g", "-shared", "-fPIC", f"-I{ROOT}", "-D_GNU_SOURCE", "-o", library, *sources,
                        "-ljansson", "-lonig", "-licuuc", "-lpthread"], check=True)
        self.c = ctypes.CDLL(library)
        self.c.tokenizer_open.restype = ctypes.c_void_p
        self.c.tokenizer_decode.restype = ctypes.c_void_p
        self.c.fail_text.restype = ctypes.c_char_p

    def open(self, path):
        self.tokenizer = ctypes.c_void_p(self.c.tokenizer_open(str(path).encode()))
        if not self.tokenizer:
            sys.exit(self.c.fail_text().decode())

    def encode(self, data, special=True):
        ids = TokenList()
        if self.c.tokenizer_encode(self.tokenizer, data, ctypes.c_size_t(len(data)), ctypes.c_bool(special), ctypes.byref(ids)):
            sys.exit(self.c.fail_text().decode())
        result = ids.ids[:ids.count]
        self.c.token_list_free(ctypes.byref(ids))
        return result

    def decode(self, ids, skip):
        count = ctypes.c_size_t()
        text = self.c.tokenizer_decode(self.tokenizer, (ctypes.c_int32 * len(ids))(*ids), ctypes.c_size_t(len(ids)),
                                       ctypes.c_bool(skip), ctypes.byref(count))
        result = ctypes.string_at(text, count.value)
        ctypes.CDLL(None).free(ctypes.c_void_p(text))
        return result


def machine_texts(megabytes, rng):
    """Pieces of this machine's files: documents, sources, and a little of everything else."""
    paths = [path for root in ("/usr/share", "/usr/include", "/usr/lib/python3", "/usr/local/lib", "/usr/lib/gcc")
             for path in pathlib.Path(root).rglob("*") if path.is_file() and not path.is_symlink() and 200 < path.stat().st_size < 3e6]
    paths.sort()
    rng.shuffle(paths)
    total = 0
    for path in paths:
        data = path.read_bytes()
        if data.count(0) > len(data) / 50:
            data = data[:2000]  # not text: a taste is enough
        start = rng.randrange(max(1, len(data) - 60000))
        yield data[start:start + 60000]
        total += len(data[start:start + 60000])
        if total > megabytes * 1e6:
            return


def compare(directories, megabytes, seed):
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(folder)
        for directory in directories:
            rng = random.Random(seed)
            theirs = Tokenizer.from_file(f"{directory}/tokenizer.json")
            ours.open(directory)
            texts = list(machine_texts(megabytes * 0.8, rng))
            made = 0
            while made < megabytes * 0.2e6:
                texts.append(random_text(rng, 60))
                made += len(texts[-1])
            wrong = tokens = 0
            for text in texts:
                expected = theirs.encode(read(text)).ids
                got = ours.encode(text)
                tokens += len(expected)
                same = got == expected and all(
                    ours.decode(expected, skip) == theirs.decode(expected, skip_special_tokens=skip).encode() for skip in (False, True))
                if not same:
                    wrong += 1
                    if wrong <= 3:
                        print("differs:", text[:200], expected[:40], got[:40])
            print(f"{directory}: {len(texts)} texts, {sum(map(len, texts)) / 1e6:.1f} MB, {tokens} tokens, {wrong} texts differ")


def speed(directories, megabytes):
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(folder)
        text = "".join(read(part) for part in machine_texts(megabytes * 2, random.Random(3)) if b"\0" not in part)
        text = text.encode()[:int(megabytes * 1e6)].decode("utf-8", "ignore")
        for directory in directories:
            theirs = Tokenizer.from_file(f"{directory}/tokenizer.json")
            ours.open(directory)
            data = text.encode()
            best = {"ours": 0, "theirs": 0}
            for _ in range(3):
                for name, call in (("ours", lambda: ours.encode(data)), ("theirs", lambda: theirs.encode(text).ids)):
                    start = time.perf_counter()
                    call()
                    best[name] = max(best[name], len(data) / 1e6 / (time.perf_counter() - start))
            print(f"{directory}: {len(data) / 1e6:.1f} MB, ours {best['ours']:.1f} MB/s, tokenizers {tokenizers.__version__} "
                  f"{best['theirs']:.2f} MB/s, {best['ours'] / best['theirs']:.1f} times")


def characters():
    every = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    with tempfile.TemporaryDirectory() as folder:
        c = Ours(folder).c
        c.character_classes.restype = ctypes.POINTER(ctypes.c_uint8)
        table = c.character_classes()
        for name, bit, split in (("\\p{L}", 1, pre_tokenizers.Split(Regex(r"\p{L}"), "removed")),
                                 ("\\p{N}", 2, pre_tokenizers.Split(Regex(r"\p{N}"), "removed")),
                                 ("\\s", 4, pre_tokenizers.Split(Regex(r"\s"), "removed")),
                                 ("Digits", 8, pre_tokenizers.Digits(individual_digits=True))):
            digits = name == "Digits"
            theirs = {ch for ch in every if (len(split.pre_tokenize_str(f"a{chr(ch)}a")) == 3 if digits
                                             else not split.pre_tokenize_str(chr(ch)))}
            mine = {ch for ch in every if table[ch] & bit}
            print(name, len(theirs), "theirs only", [f"{ch:X}" for ch in sorted(theirs - mine)],
                  "ours only", [f"{ch:X}" for ch in sorted(mine - theirs)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices="references train convert compare speed characters".split())
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--megabytes", type=float, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.what == "train":
        train()
    if options.what in ("train", "references"):
        references()
    elif options.what == "convert":
        convert(*options.paths)
    elif options.what == "compare":
        compare(options.paths, options.megabytes, options.seed)
    elif options.what == "speed":
        speed(options.paths, options.megabytes)
    else:
        characters()


if __name__ == "__main__":
    main()

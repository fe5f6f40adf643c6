"""Writes a language model of one page for llama.cpp: `python tests/tiny_model.py FILE`; needs gguf and numpy.

Its tokens are the 256 bytes and two more. An embedding is one-hot, attention and feed-forward are zero, so what the
last layer sees is the last token alone, and its matrix is a table of what follows: "hi, world" and the end, whatever
was asked. Real weights through a real inference server, and the same answer every time.

Sources: ggml docs/gguf.md; openai/gpt-2 `bytes_to_unicode`; llama.cpp src/llama-vocab.cpp (it wants one merge).
"""

from __future__ import annotations

import sys

import gguf
import numpy as np

SAYS = "hi, world"  # no letter twice: each is found by the one before it
END, MERGED = 256, 257
WIDTH, CONTEXT = 264, 4096  # of an embedding: one place for each token, and of an even size


def byte_names() -> list[str]:
    """How GPT-2's vocabulary writes each byte: itself where it can be printed, else a letter from 256 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = (chr(256 + n) for n in range(256))
    return [chr(byte) if byte in plain else next(others) for byte in range(256)]


def follows() -> dict[int, int]:
    """Token → the token after it."""
    chain = [*SAYS.encode(), END]
    return dict.fromkeys(range(MERGED + 1), chain[0]) | dict(zip(chain[:-1], chain[1:], strict=True))


def write(path: str) -> None:
    tokens = [*byte_names(), "<|end|>", "he"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL if n == END else gguf.TokenType.NORMAL for n in range(len(tokens))]
    )
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(END)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{% for message in messages %}{{ message.content }}\n{% endfor %}")
    embedding = np.zeros((len(tokens), WIDTH), np.float32)
    embedding[range(len(tokens)), range(len(tokens))] = 1
    table = np.zeros((len(tokens), WIDTH), np.float32)
    for token, then in follows().items():
        table[then, token] = 10
    nothing, ones = np.zeros((WIDTH, WIDTH), np.float32), np.ones(WIDTH, np.float32)
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", ones)
    writer.add_tensor("output.weight", table)
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", ones)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", nothing)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write(sys.argv[1])

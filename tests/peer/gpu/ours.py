"""Our cuda device from Python: loads libapbench_peer.so (shim.c) and calls it on torch's tensors.

torch must be imported first, so that both use the one libcublasLt that torch brought. All of our
work goes to the torch stream given at the start: torch's events time both sides alike.
"""

import ctypes
import math

import torch

STORE, STORE_F32, ADD_F32 = 0, 1, 2
WHOLE = 2**62


class Ours:
    def __init__(self, library, stream):
        self.c = ctypes.CDLL(library)
        pointer, wide, whole, real = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_float
        self.c.peer_error.restype = self.c.peer_title.restype = ctypes.c_char_p
        self.c.peer_open.argtypes = [whole, pointer]
        self.c.peer_close.argtypes, self.c.peer_close.restype = [], None
        self.c.peer_attention.argtypes = [
            wide, whole, whole, whole, real, pointer, wide, pointer, pointer, wide, wide, wide, wide,
            pointer, wide, pointer]
        self.c.peer_gemm.argtypes = [whole, pointer, pointer, pointer, wide, wide, wide]
        self._must(self.c.peer_open(torch.cuda.current_device(), stream.cuda_stream))
        self.title = self.c.peer_title().decode()

    def _must(self, status):
        if status:
            raise RuntimeError(self.c.peer_error().decode())

    def close(self):
        self.c.peer_close()

    def set(self, name, value):
        """Sets an int of the library by name, or an element, `name[1]`: how kernels are tuned."""
        name, bracket, index = name.partition("[")
        index = int(index[:-1]) if bracket else 0
        (ctypes.c_int * (index + 1)).in_dll(self.c, name)[index] = value

    def attention(self, q, k, v, out, lse=None, causal_offset=0):
        """q, out [rows, heads, d]; k, v [length, kv_heads, d] views with equal strides; bfloat16."""
        rows, heads, width = q.shape
        length, kv_heads, _ = k.shape
        assert k.stride() == v.stride() and q.stride()[1:] == (width, 1) and k.stride(2) == 1
        assert out.stride()[1:] == (width, 1) and (lse is None or lse.is_contiguous())
        self._must(self.c.peer_attention(
            rows, heads, kv_heads, width, 1 / math.sqrt(width), q.data_ptr(), q.stride(0),
            k.data_ptr(), v.data_ptr(), k.stride(0), k.stride(1), length, causal_offset,
            out.data_ptr(), out.stride(0), lse.data_ptr() if lse is not None else None))

    def gemm(self, mode, c, a, w):
        """c [m, n] = (or += with ADD_F32) a [m, k] w [n, k]^T."""
        assert c.is_contiguous() and a.is_contiguous() and w.is_contiguous()
        assert c.dtype == (torch.bfloat16 if mode == STORE else torch.float32)
        m, k = a.shape
        self._must(self.c.peer_gemm(mode, c.data_ptr(), a.data_ptr(), w.data_ptr(), m, w.shape[0], k))

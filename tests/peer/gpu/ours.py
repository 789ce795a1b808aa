"""Our cuda device from Python: loads libapbench_peer.so (shim.c) and calls it on torch's tensors.

torch must be imported first, so that both use the one libcublasLt that torch brought. All of our
work goes to the torch stream given at the start: torch's events time both sides alike.
"""

import ctypes
import math

import torch

STORE, STORE_F32, ADD_F32 = 0, 1, 2
WHOLE = 2**62  # a causal offset: every row sees the segment whole

pointer, wide, whole, real = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_float


class SegmentFields(ctypes.Structure):
    """attn_segment of kernels/device.h."""
    _fields_ = [("k", pointer), ("v", pointer), ("row_stride", wide), ("head_stride", wide),
                ("length", wide), ("row_begin", wide), ("row_end", wide), ("causal_offset", wide)]


class CallFields(ctypes.Structure):
    """attn_call of kernels/device.h."""
    _fields_ = [("rows", wide), ("heads", whole), ("kv_heads", whole), ("head_dim", whole),
                ("scale", real), ("q", pointer), ("q_row_stride", wide), ("out", pointer),
                ("out_row_stride", wide), ("acc", pointer), ("lse", pointer),
                ("fold", ctypes.c_bool), ("segments", ctypes.POINTER(SegmentFields)),
                ("segment_count", whole)]


class Segment:
    """Keys and values [length, kv_heads, d] (views with equal strides) that rows begin..end-1 see:
    key j is visible to row i iff j <= i - begin + offset."""

    def __init__(self, k, v, begin, end, offset=WHOLE):
        assert k.stride() == v.stride() and k.shape == v.shape and k.stride(2) == 1
        self.k, self.v, self.begin, self.end, self.offset = k, v, begin, end, offset

    def fields(self):
        return SegmentFields(self.k.data_ptr(), self.v.data_ptr(), self.k.stride(0), self.k.stride(1),
                             self.k.shape[0], self.begin, self.end, self.offset)

    def pairs(self):
        """Visible (row, key) pairs."""
        rows, length = self.end - self.begin, self.k.shape[0]
        rising = max(0, min(rows, length - 1 - self.offset))  # rows that do not see all
        return rising * (self.offset + 1) + rising * (rising - 1) // 2 + (rows - rising) * length


class Ours:
    def __init__(self, library, stream):
        self.c = ctypes.CDLL(library)
        self.c.peer_error.restype = self.c.peer_title.restype = ctypes.c_char_p
        self.c.peer_call_bytes.restype = self.c.peer_segment_bytes.restype = ctypes.c_size_t
        assert self.c.peer_call_bytes() == ctypes.sizeof(CallFields)
        assert self.c.peer_segment_bytes() == ctypes.sizeof(SegmentFields)
        self.c.peer_open.argtypes = [whole, pointer]
        self.c.peer_close.argtypes, self.c.peer_close.restype = [], None
        self.c.peer_attend.argtypes = [ctypes.POINTER(CallFields)]
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

    def call_of(self, q, segments, out=None, acc=None, lse=None, fold=False):
        """A function of no arguments that queues the call. q, out [rows, heads, d] bfloat16; or acc
        float32 packed, into which `fold` adds; lse [rows, heads] float32."""
        rows, heads, width = q.shape
        assert q.stride()[1:] == (width, 1) and (out is None) != (acc is None)
        assert out is None or out.stride()[1:] == (width, 1)
        assert all(x is None or x.is_contiguous() for x in (acc, lse))
        fields = (SegmentFields * len(segments))(*[s.fields() for s in segments])

        def address(x):
            return None if x is None else x.data_ptr()
        call = CallFields(rows, heads, segments[0].k.shape[1], width, 1 / math.sqrt(width),
                          q.data_ptr(), q.stride(0), address(out),
                          0 if out is None else out.stride(0), address(acc), address(lse), fold,
                          ctypes.cast(fields, ctypes.POINTER(SegmentFields)), len(segments))

        def run(kept=(q, segments, out, acc, lse, fields)):
            self._must(self.c.peer_attend(ctypes.byref(call)))
        return run

    def attention(self, q, k, v, out, lse=None, causal_offset=0):
        """One segment that all rows see."""
        self.call_of(q, [Segment(k, v, 0, q.shape[0], causal_offset)], out, lse=lse)()

    def gemm(self, mode, c, a, w):
        """c [m, n] = (or += with ADD_F32) a [m, k] w [n, k]^T."""
        assert c.is_contiguous() and a.is_contiguous() and w.is_contiguous()
        assert c.dtype == (torch.bfloat16 if mode == STORE else torch.float32)
        m, k = a.shape
        self._must(self.c.peer_gemm(mode, c.data_ptr(), a.data_ptr(), w.data_ptr(), m, w.shape[0], k))

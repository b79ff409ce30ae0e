"""Files of other programs: LIBMF's ratings and models."""

from ._libmf_model import read_libmf_model, write_libmf_model
from ._libmf_text import read_libmf, read_libmf_chunks, write_libmf

__all__ = [
    "read_libmf",
    "read_libmf_chunks",
    "read_libmf_model",
    "write_libmf",
    "write_libmf_model",
]

"""A second decoder, libde265 (Debian: libde265-0) by its C interface: samples, and the quantiser of every block.

It tells the QP of skipped blocks, which no sample shows, and arbitrates under constrained intra prediction, where
FFmpeg itself errs in rare pictures. CODECMETA_LIBDE265 names the library if the linker does not find it.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from dataclasses import dataclass

import numpy as np
import pytest

DISABLE_DEBLOCKING, DISABLE_SAO = 7, 8  # enum de265_param


@dataclass
class Decoded:
    planes: list[np.ndarray]  # int32, without deblocking and SAO
    qp: np.ndarray  # int (height / 8, width / 8): QpY where it is 20..40, 20 or 40 beyond


def library() -> ctypes.CDLL:
    """The library, or a skip that says where it was looked for."""
    name = os.environ.get("CODECMETA_LIBDE265") or ctypes.util.find_library("de265")
    if not name:
        pytest.skip("libde265 is not installed (Debian: libde265-0), nor named by CODECMETA_LIBDE265")
    lib = ctypes.CDLL(name)
    pointer = ctypes.c_void_p
    lib.de265_new_decoder.restype = pointer
    lib.de265_get_next_picture.restype = lib.de265_get_image_plane.restype = pointer
    lib.de265_set_parameter_bool.argtypes = [pointer, ctypes.c_int, ctypes.c_int]
    lib.de265_push_NAL.argtypes = [pointer, ctypes.c_char_p, ctypes.c_int, ctypes.c_int64, pointer]
    lib.de265_decode.argtypes = [pointer, ctypes.POINTER(ctypes.c_int)]
    lib.de265_get_image_plane.argtypes = [pointer, ctypes.c_int, ctypes.POINTER(ctypes.c_int)]
    lib.de265_get_image_PTS.restype = ctypes.c_int64
    for function in ("de265_get_image_width", "de265_get_image_height", "de265_get_bits_per_pixel"):
        getattr(lib, function).argtypes = [pointer, ctypes.c_int]
    for function in ("flush_data", "free_decoder", "get_next_picture", "get_image_PTS", "get_chroma_format"):
        getattr(lib, f"de265_{function}").argtypes = [pointer]
    lib.draw_QuantPY.argtypes = [pointer, pointer, ctypes.c_int, ctypes.c_int]
    lib.draw_QuantPY.restype = None
    return lib


def decode(units: list[list[bytes]]) -> dict[int, Decoded]:
    """NAL units (no start codes) of each packet -> what libde265 says of its picture, by packet number."""
    lib = library()
    context = lib.de265_new_decoder()
    lib.de265_set_parameter_bool(context, DISABLE_DEBLOCKING, 1)
    lib.de265_set_parameter_bool(context, DISABLE_SAO, 1)
    result: dict[int, Decoded] = {}
    more = ctypes.c_int(1)
    for number, packet in enumerate(units):
        for unit in packet:
            lib.de265_push_NAL(context, unit, len(unit), number, None)
    lib.de265_flush_data(context)
    while more.value and not lib.de265_decode(context, ctypes.byref(more)):
        while image := lib.de265_get_next_picture(context):
            result[lib.de265_get_image_PTS(image)] = _decoded(lib, image)
    while image := lib.de265_get_next_picture(context):
        result[lib.de265_get_image_PTS(image)] = _decoded(lib, image)
    lib.de265_free_decoder(context)
    return result


def _decoded(lib: ctypes.CDLL, image: int) -> Decoded:
    planes = []
    for c in range(3 if lib.de265_get_chroma_format(image) else 1):
        stride = ctypes.c_int()
        address = lib.de265_get_image_plane(image, c, ctypes.byref(stride))
        width, height = lib.de265_get_image_width(image, c), lib.de265_get_image_height(image, c)
        data = np.frombuffer(ctypes.string_at(address, stride.value * height), np.uint8).reshape(height, -1)
        if lib.de265_get_bits_per_pixel(image, c) > 8:
            data = data.view(np.uint16)
        planes.append(data[:, :width].astype(np.int32))
    height, width = planes[0].shape
    grey = np.zeros((height + 64, width + 64), np.uint8)  # it may draw whole blocks at the edges
    lib.draw_QuantPY(image, grey.ctypes.data, width + 64, 1)
    values = [(qp - 20) * 255 // 20 for qp in range(20, 41)]
    return Decoded(planes, np.searchsorted(values, grey[4:height:8, 4:width:8]) + 20)

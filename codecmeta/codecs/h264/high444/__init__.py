"""What only the High 4:4:4 Predictive profile has: three planes coded as luma is, and lossless macroblocks.

Frames and fields, in either entropy coder. Kernels of its own, compiled when the first such picture is read.
"""

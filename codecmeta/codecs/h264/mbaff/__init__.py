"""MBAFF frames, whose macroblocks come in pairs of frame or of field macroblocks.

The kernels of the other pictures read each macroblock here too, in a picture of one macroblock: before it, what
Table 6-4 finds around it is laid there in its own units; behind it, what it says is put into the frame. So frames
without pairs have no branch for them, and the kernels for pairs are compiled when the first such frame is read.
"""

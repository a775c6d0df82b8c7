"""H.264 (ITU-T Rec. H.264 | ISO/IEC 14496-10) read without decoding it: the syntax, the entropy coding, no pixels."""

"""What parsers share: bits, NAL units, how kernels are compiled."""

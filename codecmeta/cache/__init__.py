"""The record of a video as an HDF5 file."""

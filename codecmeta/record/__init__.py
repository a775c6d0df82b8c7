"""The record of one video: plain data that everything else reads and writes."""

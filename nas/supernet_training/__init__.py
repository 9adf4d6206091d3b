"""Training a supernet so that its sub-networks are good as they are, without being trained each on its own.

The sandwich rule of arXiv:1908.09791 and arXiv:2003.11142 (BigNAS), on pre-trained language models as in
arXiv:2405.02267 and arXiv:2410.06479. Imports nothing, so that a config is read without loading what trains.
"""

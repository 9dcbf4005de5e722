"""Quantized layers, their grids, calibration, and the conversion of a trained network."""

"""Exports of a trained run: its network as a graph of plain operations, and the formats it is written in."""
